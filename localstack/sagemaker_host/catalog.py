"""What has been created: models, endpoint configurations and their tags, by name.

Documents are kept as they came and given back by Describe. Nothing here runs anything, and
nothing outlives the host: the emulator's stacks do not either.
"""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sagemaker_host import faults

Document = Mapping[str, Any]
_ARN_KINDS = {"Model": "model", "EndpointConfig": "endpoint-config", "Endpoint": "endpoint"}
_SPOKEN = {"Model": "model", "EndpointConfig": "endpoint configuration", "Endpoint": "endpoint"}


@dataclass(frozen=True)
class Account:
    """Whose resources these are, and where."""

    id: str = "000000000000"
    region: str = "us-east-1"

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a Model, EndpointConfig or Endpoint; the service writes names small."""
        return f"arn:aws:sagemaker:{self.region}:{self.id}:{_ARN_KINDS[kind]}/{name.lower()}"


@dataclass(frozen=True)
class Record:
    """One created thing."""

    kind: str
    name: str
    arn: str
    document: Document
    created: float = field(default_factory=time.time)


class Shelf:
    """All things of one kind, oldest first; names differ by more than their case."""

    def __init__(self, kind: str, account: Account) -> None:
        self.kind = kind
        self._account = account
        self._records: dict[str, Record] = {}

    def arn(self, name: str) -> str:
        """The ARN that a name has or would have."""
        return self._account.arn(self.kind, name)

    def check_free(self, name: str) -> None:
        """Raise unless the name can be taken."""
        if name.lower() in self._records:
            raise faults.already_there(_SPOKEN[self.kind], self.arn(name))

    def add(self, name: str, document: Document) -> Record:
        """Take the name."""
        self.check_free(name)
        record = Record(self.kind, name, self.arn(name), document)
        self._records[name.lower()] = record
        return record

    def find(self, name: str) -> Record:
        """The thing of that name."""
        if name.lower() not in self._records:
            raise faults.not_found(_SPOKEN[self.kind], self.arn(name))
        return self._records[name.lower()]

    def remove(self, name: str) -> Record:
        """Give the name back."""
        record = self.find(name)
        del self._records[name.lower()]
        return record

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))


class Tags:
    """Tags by ARN."""

    def __init__(self) -> None:
        self._tags: dict[str, dict[str, str]] = {}

    def add(self, arn: str, tags: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
        """Set tags and return all there are."""
        self._tags.setdefault(arn, {}).update({each["Key"]: each["Value"] for each in tags})
        return self.of(arn)

    def of(self, arn: str) -> list[dict[str, str]]:
        """The tags of one thing."""
        found = self._tags.get(arn, {})
        return [{"Key": key, "Value": value} for key, value in found.items()]

    def remove(self, arn: str, keys: Iterable[str]) -> None:
        """Take some tags off."""
        for key in keys:
            self._tags.get(arn, {}).pop(key, None)

    def forget(self, arn: str) -> None:
        """The thing is gone."""
        self._tags.pop(arn, None)


def request_id() -> str:
    """An identifier as AWS gives every request."""
    return str(uuid.uuid4())
