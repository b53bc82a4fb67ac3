"""Run by LeRobot's own Python: what its trainer and its tools make of a data set, as JSON on the last line.

python with_lerobot.py train FOLDER     # a few steps of ACT: features and ranges that reach the network
python with_lerobot.py edit FOLDER OUT  # delete an episode, split, merge
python with_lerobot.py write FOLDER OUT # a set of its own, and what it reads of it, as OUT.npz
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.factory import make_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.factory import make_policy, make_pre_post_processors


def train(root):
    small = dict.fromkeys(("n_encoder_layers", "n_decoder_layers", "n_vae_encoder_layers"), 1)
    small |= {"dim_model": 32, "n_heads": 2, "dim_feedforward": 32, "latent_dim": 4, "chunk_size": 4}
    act = ACTConfig(device="cpu", push_to_hub=False, pretrained_backbone_weights=None, n_action_steps=4, **small)
    data = make_dataset(TrainPipelineConfig(dataset=DatasetConfig(repo_id="own/set", root=root), policy=act))
    policy = make_policy(act, ds_meta=data.meta)
    scale, _ = make_pre_post_processors(act, dataset_stats=data.meta.stats)
    collate = None
    if getattr(data.meta, "has_language_columns", False):
        from lerobot.utils.collate import lerobot_collate_fn as collate
    ranges = {}
    for batch in torch.utils.data.DataLoader(data, batch_size=4, collate_fn=collate):
        for key in data.meta.camera_keys:
            batch[key] = batch[key].float() / 255 if batch[key].dtype == torch.uint8 else batch[key]
        batch = scale(batch)
        for key in (*act.input_features, *act.output_features):
            low, high = ranges.get(key, (torch.inf, -torch.inf))
            ranges[key] = min(low, batch[key].min().item()), max(high, batch[key].max().item())
        loss, _ = policy.forward(batch)
        loss.backward()
    inputs, outputs = ({k: list(f.shape) for k, f in fs.items()} for fs in (act.input_features, act.output_features))
    return {"inputs": inputs, "outputs": outputs, "ranges": ranges, "loss": loss.item()}


def edit(root, out):
    from lerobot.datasets.dataset_tools import delete_episodes, merge_datasets, split_dataset

    data = LeRobotDataset("own/set", root=root)
    delete_episodes(data, [0], output_dir=Path(out, "deleted"), repo_id="own/deleted")
    split_dataset(data, {"one": [0], "other": [1]}, output_dir=Path(out, "split"))
    merge_datasets([data, data], output_repo_id="own/merged", output_dir=Path(out, "merged"))
    return sorted(str(path.parent.parent) for path in Path(out).rglob("info.json"))


def write(root, out):
    motors = {"motors": ["shoulder.pos", "elbow.pos", "gripper.pos"]}
    features = {
        "observation.images.front": {
            "dtype": "video",
            "shape": (64, 96, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.state": {"dtype": "float32", "shape": (3,), "names": motors},
        "action": {"dtype": "float32", "shape": (3,), "names": motors},
    }
    made = LeRobotDataset.create("own/set", fps=15, features=features, root=root, robot_type="so101", use_videos=True)
    for episode, length in enumerate((12, 7, 20)):
        for step in range(length):
            action = np.array([episode, step, step > length // 2], np.float32)
            picture = np.full((64, 96, 3), 20 + 60 * episode + 5 * step, np.uint8)
            frame = {"observation.images.front": picture, "observation.state": action / 2, "action": action}
            made.add_frame({**frame, "task": f"Task {episode % 2}."})
        made.save_episode()
    made.finalize()
    read = LeRobotDataset("own/set", root=root)
    rows = [read[k] for k in range(len(read))]
    columns = {key: np.stack([row[key].numpy() for row in rows]) for key in (*features, "episode_index")}
    np.savez(out, **columns, task=[row["task"] for row in rows])
    return len(rows)


if __name__ == "__main__":
    print(json.dumps({"train": train, "edit": edit, "write": write}[sys.argv[1]](*sys.argv[2:])))
