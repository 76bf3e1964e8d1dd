"""Where reading goes on: behind what another keeper has committed, and in a topic made anew."""

from contextlib import closing

import pytest
from kafka import KafkaAdminClient

from consumers.commit_loop import CommitLoop
from consumers.keeper import KEEPER_NAME
from frameloop.adapters.kafka_topics import ensure_topics
from frameloop.core.errors import FatalError
from tests.fault.conftest import Spare
from tests.outages import paused, pid_of
from tests.waiting import count_table_rows, until


def test_a_keeper_paused_and_replaced_commits_nothing_more_when_it_comes_back(
    spare: Spare,
) -> None:
    settings, service = spare.settings, spare.service
    spare.load.send(30)
    spare.settle()
    rows = count_table_rows(settings)
    with paused(pid_of(service, KEEPER_NAME)):
        spare.load.send(30)
        other = CommitLoop(settings.table_uri, settings.label_columns, outbox_max=100)
        other.take_over()
        version = other.dataset.latest_version

    with pytest.raises(FatalError, match=r"has replaced keeper|has ended"):
        until(lambda: service.check() is not None, "the service notices that it was replaced")
    assert other.dataset.latest_version == version
    assert count_table_rows(settings) == rows
    spare.restart()
    spare.settle()


def test_a_topic_made_anew_is_read_from_its_start(spare: Spare) -> None:
    kafka = spare.settings.kafka
    spare.load.send(40)
    spare.settle()
    with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)) as admin:
        admin.delete_topics([kafka.topic])
        until(lambda: kafka.topic not in admin.list_topics(), "the topic is gone")
    ensure_topics(kafka)
    spare.load.send(20)
    spare.settle()
