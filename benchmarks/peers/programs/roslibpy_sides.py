"""roslibpy's side of hearing pictures through rosbridge."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).parent.parent))
import roslibpy  # type: ignore[import-not-found]
from turn_process import serve_turns  # type: ignore[import-not-found]


def prepare(threads: int, server: list[str], topics: list[str], kind: str) -> Any:
    """Start the server and subscribe; a picture counts once it is an array."""
    process = subprocess.Popen(server, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = urlparse(process.stdout.readline().strip())
    client = roslibpy.Ros(host=url.hostname, port=url.port)
    client.run()
    came: list[tuple[int, ...]] = []

    def take(message: Any) -> None:
        came.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(message["data"])))).shape)

    for topic in topics:
        roslibpy.Topic(client, topic, kind).subscribe(take)
    while not came:
        time.sleep(0.01)

    def work(seconds: float) -> tuple[int, float]:
        before, spent = len(came), time.process_time()
        time.sleep(seconds)
        return len(came) - before, time.process_time() - spent

    return work, {}


if __name__ == "__main__":
    serve_turns(prepare)
