"""The event that upstream systems send: one screenshot, named by URL.

Wire form: CloudEvents 1.0 over Kafka (Kafka protocol binding 1.0.2). Binary mode carries the
attributes as `ce_*` headers and `ScreenshotData` as the JSON value; structured mode and plain JSON
carry one flat JSON object. The key is the source, so events of one source keep their order.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

EVENT_TYPE = "frameloop.screenshot.v1"
SPEC_VERSION = "1.0"
EVENT_BYTES_MAX = 65_536
ATTRIBUTES_MAX = 64


def _no_integer(value: Any) -> Any:
    """An integer that `AttributeInteger` refuses must not come in as a float that is another one."""
    if isinstance(value, int):
        raise ValueError("an integer of more than 64 bits")
    return value


Identifier = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Caption = Annotated[str, StringConstraints(min_length=1, max_length=8192)]
AttributeName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
AttributeText = Annotated[str, StringConstraints(max_length=1024)]
AttributeInteger = Annotated[int, Field(ge=-(2**63), lt=2**63)]
AttributeFloat = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_integer)]
AttributeValue = bool | AttributeInteger | AttributeFloat | AttributeText | None


class ScreenshotData(BaseModel):
    """The `data` of a CloudEvent of type `frameloop.screenshot.v1`.

    Unknown fields are ignored, so that a newer sender can talk to an older service.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)

    image_url: Url = Field(description="Where the image is; http or https.")
    captured_at: AwareDatetime | None = Field(
        default=None, description="When the frame was on the screen, with a time zone."
    )
    caption: Caption | None = Field(
        default=None, description="What the image shows: the assistant's turn, when known."
    )
    attributes: dict[AttributeName, AttributeValue] = Field(
        default_factory=dict,
        max_length=ATTRIBUTES_MAX,
        description="What the game itself reported, such as health or lives.",
    )


class ScreenshotEvent(ScreenshotData):
    """An event as the service sees it: the data with the CloudEvents id, source and time."""

    event_id: Identifier = Field(description="CloudEvents `id`: the same event, the same id.")
    source: Identifier = Field(description="CloudEvents `source`, and the Kafka key.")
    sent_at: datetime | None = Field(default=None, description="CloudEvents `time`.")
