"""How lenses bend pictures: the models of ``sensor_msgs/CameraInfo``, on coordinates at a distance of 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lohovla.errors import UserError

_MOST = {"plumb_bob": 5, "rational_polynomial": 12, "equidistant": 4}  # coefficients
_ALSO = {"fisheye": "equidistant", "brown_conrady": "plumb_bob", "": "plumb_bob", "none": "plumb_bob"}


def model_of(name: str, coefficients: Sequence[float], camera: str) -> str:
    """The model's name as this module has it; "" where nothing is bent.

    Args:
        name: ``distortion_model`` of the camera's info: plumb_bob, rational_polynomial (as OpenCV has it, with thin
            prisms), equidistant (fisheye); "" is plumb_bob.
        coefficients: ``d`` of the camera's info, in OpenCV's order.
        camera: its name, for the error.

    Raises:
        UserError: a model that is not known, or more coefficients than it has.
    """
    known = _ALSO.get(name.lower(), name.lower())
    if known != "equidistant" and not any(coefficients):
        return ""
    if known not in _MOST:
        raise UserError(
            f"camera {camera} has the distortion model {name!r}, which is not supported",
            f"supported: {', '.join(_MOST)}; or use a rectified picture and its CameraInfo",
        )
    if any(coefficients[_MOST[known] :]):
        raise UserError(
            f"camera {camera} has {len(coefficients)} distortion coefficients, {known} has {_MOST[known]} here",
            "calibrate it with another model, or use a rectified picture and its CameraInfo",
        )
    return known


def distort(model: str, coefficients: Sequence[float], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the lens puts the points (x, y) of the plane at distance 1; the same shape.

    Args:
        model: of :func:`model_of`, not "".
        coefficients: in OpenCV's order; those that are missing are 0.
        x: to the right, as tangents.
        y: down, as tangents.
    """
    if model == "equidistant":
        return _fisheye(coefficients, x, y)
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = (*coefficients[:12], *[0.0] * 12)[:12]
    r = x * x + y * y
    radial = (1.0 + r * (k1 + r * (k2 + r * k3))) / (1.0 + r * (k4 + r * (k5 + r * k6)))
    u = x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x) + r * (s1 + r * s2)
    v = y * radial + p1 * (r + 2 * y * y) + 2 * p2 * x * y + r * (s3 + r * s4)
    return u, v


def _fisheye(coefficients: Sequence[float], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    k1, k2, k3, k4 = (*coefficients[:4], *[0.0] * 4)[:4]
    r = np.hypot(x, y)
    angle = np.arctan(r)
    s = angle * angle
    scale = angle * (1.0 + s * (k1 + s * (k2 + s * (k3 + s * k4)))) / np.maximum(r, 1e-9)
    scale = np.where(r < 1e-9, 1.0, scale)
    return x * scale, y * scale
