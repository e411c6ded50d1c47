"""What the router hands on without waiting: jobs, and copies of requests for shadow versions.

A job is delivered until a worker has finished it; one that six deliveries did not finish goes to
the dead letters, which an alarm sees. A copy is worth little and is kept for an hour.
"""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from modelport.deployments import Environment

from infra import alarms, naming, review
from infra.payloads import KEPT

#: Lambda's longest, and so the longest run of a job.
WORK_LIMIT = Duration.minutes(15)
#: A message is invisible for as long as its worker may run, and a little; a worker that knows that
#: it cannot finish gives its message back at once.
_INVISIBLE = Duration.minutes(16)
#: Several, because a version without capacity just now counts as well: 20 minutes of that.
_DELIVERIES = 6
_COPIES_KEPT = Duration.hours(1)
_DEAD_KEPT = Duration.days(14)
#: SQS asks KMS again only after this.
_KEY_REUSED = Duration.hours(1)
#: A job of the longest kind and a second delivery of it are no trouble yet.
_OLD = Duration.minutes(45)


@dataclass(frozen=True, slots=True)
class Queues:
    """Of one environment."""

    jobs: sqs.Queue
    dead: sqs.Queue
    shadows: sqs.Queue

    @property
    def measured(self) -> list[cloudwatch.IMetric]:
        """For the dashboard: jobs that wait, the age of the oldest, and those given up."""
        return [_waiting(self.jobs), _age(self.jobs), _waiting(self.dead)]


def queues(stack: Stack, environment: Environment, key: kms.Key) -> Queues:
    """Make them, watched."""

    def make(
        id: str, what: str, kept: Duration, dead_letters: sqs.DeadLetterQueue | None = None
    ) -> sqs.Queue:
        return sqs.Queue(
            stack,
            id,
            queue_name=naming.queue(environment.name, what),
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=key,
            data_key_reuse=_KEY_REUSED,
            enforce_ssl=True,
            visibility_timeout=_INVISIBLE,
            retention_period=kept,
            dead_letter_queue=dead_letters,
        )

    dead = make("DeadJobs", "dead-jobs", _DEAD_KEPT)
    limit = sqs.DeadLetterQueue(max_receive_count=_DELIVERIES, queue=dead)
    jobs = make("Jobs", "jobs", KEPT, limit)
    shadows = make("Shadows", "shadows", _COPIES_KEPT)
    review.accept_copies_without_dead_letters(shadows)
    made = Queues(jobs, dead, shadows)
    alarms.QueueAlarms(
        stack,
        "JobAlarms",
        queue=naming.queue(environment.name, "jobs"),
        age=_age(jobs),
        old=_OLD,
        given_up=_received(dead),
        topic=environment.alarm_topic,
    )
    return made


def _waiting(queue: sqs.Queue) -> cloudwatch.Metric:
    return queue.metric_approximate_number_of_messages_visible(
        statistic="Maximum", period=alarms.PERIOD
    )


def _received(queue: sqs.Queue) -> cloudwatch.Metric:
    """What comes into the dead letters SQS counts nowhere; that the worker took it, it does."""
    return queue.metric_number_of_messages_received(statistic="Sum", period=alarms.PERIOD)


def _age(queue: sqs.Queue) -> cloudwatch.Metric:
    return queue.metric_approximate_age_of_oldest_message(statistic="Maximum", period=alarms.PERIOD)
