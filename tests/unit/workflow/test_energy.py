"""Energy is measured only where a country is named, by codecarbon's offline tracker."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest

from rankwright.errors import MissingExtraError
from rankwright.workflow.energy import EnergyMeter


class Tracker:
    """codecarbon's tracker, as far as we use it."""

    made: ClassVar["list[Tracker]"] = []

    def __init__(self, **settings: object) -> None:
        self.settings, self.calls = settings, ["made"]
        self.final_emissions_data = SimpleNamespace(
            emissions=0.002, energy_consumed=0.004, on_cloud="N", cpu_model="a CPU", ram_total_size=23.5, gpu_model=None
        )
        Tracker.made.append(self)

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")


def test_without_a_country_nothing_is_measured_and_codecarbon_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    assert EnergyMeter(None).stop() is None


def test_a_country_without_codecarbon_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(MissingExtraError, match=r"country = 'POL' needs .* 'codecarbon'.*rankwright\[energy\]"):
        EnergyMeter("POL")


def test_facts_are_grams_and_kilowatt_hours_from_the_offline_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", SimpleNamespace(OfflineEmissionsTracker=Tracker))
    facts = EnergyMeter("POL").stop()
    assert facts is not None
    assert (facts["emissions"], facts["energy_consumed"], facts["on_cloud"]) == (2.0, 0.004, False)
    assert Tracker.made[-1].settings["country_iso_code"] == "POL"
    assert Tracker.made[-1].settings["save_to_file"] is False
    assert Tracker.made[-1].calls == ["made", "start", "stop"]
