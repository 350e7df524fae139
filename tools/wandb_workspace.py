"""Save one view of a W&B project: python tools/wandb_workspace.py project=NAME; see --help."""

from detbox.cli import main

if __name__ == "__main__":
    main("wandb_workspace")
