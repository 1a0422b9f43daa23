"""The texts at the ticks of an axis; without matplotlib, for the diagrams of the report too."""


def percent(share: float, position: float = 0) -> str:
    """0.015 as `1.5%`, without trailing zeros: for the ticks of an axis."""
    return f"{100 * share:.6g}%"
