"""Names of tensors in other code bases: one file per paper, which registers its layouts."""

from importlib import import_module
from pkgutil import iter_modules

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")
