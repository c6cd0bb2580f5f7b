"""Document: a run folder becomes the model's `README.md`.

In: the run folder. Out: the card, a pure function of the folder (and of a template, where the user gives one).
"""

from rankwright.card.render import check_template, render_card, write_card
from rankwright.card.run_folder import RunFolder, read_run
from rankwright.card.st_variables import st_variables

__all__ = ["RunFolder", "check_template", "read_run", "render_card", "st_variables", "write_card"]
