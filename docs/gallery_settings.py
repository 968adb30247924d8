"""The order of the gallery's pages and the style of its figures, for Sphinx-Gallery."""

import matplotlib as mpl
from cycler import cycler
from sphinx_gallery.sorting import ExplicitOrder

ORDER = ExplicitOrder(
    f"plot_{name}.py"
    for name in (
        *("first_filter", "correlated_keys", "layer", "decoding", "own_kernel"),
        *("sensor", "carbon_dioxide", "polar_motion"),
    )
)
# The palette of Okabe and Ito, which the colour-blind can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
FIGURES = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.figsize": (8.0, 3.4),
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "savefig.dpi": 140,
}


def set_style(gallery_conf, script):
    """Set the style before a script runs."""
    mpl.rcParams.update(FIGURES)
