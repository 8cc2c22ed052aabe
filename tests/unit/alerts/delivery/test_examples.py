"""What the documentation shows can be used."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from alerts import policy_file
from alerts.delivery.channels_config import Delivery, QuietHours

ROOT = Path(__file__).parents[4]


def test_the_policy_to_try_things_out_with_is_right() -> None:
    """It reaches a receiver on this machine and tells what the demo model says."""
    policy = policy_file.read(ROOT / "examples/alerts/policy.yaml")

    assert ["team", "crm"] == [channel.name for channel in policy.channels]
    assert all(channel.allow_private and channel.allow_demo_model for channel in policy.channels)
    assert ("team", "crm") == policy.rules[0].channels


def test_the_channels_of_the_documentation_are_right() -> None:
    """The block of YAML in docs/channels.md is what it says."""
    text = (ROOT / "docs/channels.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    said = yaml.safe_load(block)

    policy = policy_file.parse(block)
    assert {"crm", "mail", "team"} == {channel.name for channel in policy.channels}
    assert 10 == policy.rules[0].max_per_hour
    assert isinstance(policy.rules[0].quiet_hours, QuietHours)
    delivery = Delivery.model_validate({"channels": said["channels"], "storm": said["storm"]})
    assert delivery.storm == policy.storm == Delivery().storm
