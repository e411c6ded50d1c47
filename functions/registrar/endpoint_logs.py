"""An endpoint's log group, kept from one deploy of its version to the next.

SageMaker fixes the group's name, so one that CloudFormation made and kept would stand in the way of
the version's next deploy. Here a group that is there already is taken as it is, and given its key
and retention; nothing is ever deleted. It knows nothing of models.
"""

from __future__ import annotations

from typing import Any

from functions.registrar.cloudformation import Event, Outcome

RESOURCE_TYPE = "Custom::EndpointLogs"


class EndpointLogs:
    """Carries out the events of one such resource with a boto3 CloudWatch Logs client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(self, event: Event, budget_s: float) -> Outcome:
        """See to the group; a deleted resource leaves it as it is, until its retention ends."""
        if event.kind == "Delete":
            return Outcome(event.physical_id)
        group, key = str(event.properties["LogGroup"]), str(event.properties["KeyArn"])
        try:
            self._client.create_log_group(logGroupName=group, kmsKeyId=key)
        except self._client.exceptions.ResourceAlreadyExistsException:
            # From an earlier deploy, perhaps under another key.
            self._client.associate_kms_key(logGroupName=group, kmsKeyId=key)
        days = int(event.properties["RetentionDays"])
        self._client.put_retention_policy(logGroupName=group, retentionInDays=days)
        return Outcome(group)
