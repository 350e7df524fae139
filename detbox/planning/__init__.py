"""Settings that a rule takes from the training pictures. Importing registers the rules."""

from detbox.planning import finetune
from detbox.planning.facts import Choice, Facts, Start
from detbox.planning.plan import chosen_settings, with_choices

__all__ = ["Choice", "Facts", "Start", "chosen_settings", "finetune", "with_choices"]
