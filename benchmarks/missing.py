"""What to install when a module is missing that only measuring needs."""


def missing(error: ModuleNotFoundError) -> str:
    """Return which module is missing, and what to install, in one line."""
    return f"there is no module {error.name}: pip install '.[bench]' in the folder of the source"
