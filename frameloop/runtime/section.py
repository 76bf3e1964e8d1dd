"""What the sections of the settings have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen, and a name that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
