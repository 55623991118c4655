"""The task types that come along: importing this package registers them in the default registry.

Every module here without a leading underscore is one type and is found by itself: a type is added by writing one file.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    if not _module.name.startswith("_"):
        import_module(f"{__name__}.{_module.name}")
