"""The energy of a training run, measured by codecarbon without the network.

In: a country. Out: the "energy" block of summary.json.
"""

from typing import Any

from rankwright.errors import MissingExtraError


class EnergyMeter:
    """Measures from its making to `stop`; without a country it measures nothing.

    Args:
        country: ISO code of three letters, by which codecarbon knows the emissions of a kilowatt-hour; or None.

    Raises:
        MissingExtraError: a country, but no codecarbon.
    """

    def __init__(self, country: str | None) -> None:
        self.tracker: Any = None
        if country is None:
            return
        try:
            from codecarbon import OfflineEmissionsTracker
        except ImportError as err:
            raise MissingExtraError(f"[card] country = {country!r}", "energy", "codecarbon") from err
        self.tracker = OfflineEmissionsTracker(
            country_iso_code=country, save_to_file=False, log_level="error", allow_multiple_runs=True
        )
        self.tracker.start()

    def stop(self) -> dict[str, Any] | None:
        """What was used since the meter was made.

        Returns:
            Emissions in grams of CO2 equivalent, energy in kWh, and what they were measured on; None without a country.
        """
        if self.tracker is None:
            return None
        self.tracker.stop()
        found = self.tracker.final_emissions_data
        return {
            "emissions": found.emissions * 1000,
            "energy_consumed": found.energy_consumed,
            "source": "codecarbon",
            "training_type": "fine-tuning",
            "on_cloud": found.on_cloud == "Y",
            "cpu_model": found.cpu_model,
            "ram_total_size": found.ram_total_size,
            "hardware_used": found.gpu_model,
        }
