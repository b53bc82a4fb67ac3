"""The progress head looks at the two points, and compares."""

import torch

from lohovla.model.encoders.detector import ATTRIBUTE_DIM, DetectionMap, cell_centres


def test_shapes(tiny, inputs):
    model, _ = tiny
    points = torch.rand(3, 2, 5) * 0.3 + 0.3
    with torch.no_grad():
        seen, _ = model.detect_objects(inputs)
        before = model.progress.sample_features(seen, points)
        logit = model.progress(before, before, points)
    assert before.shape == (3, 2, model.config.stem_dim + 3 * (1 + ATTRIBUTE_DIM))
    assert logit.shape == (3,)


def test_what_is_remembered_is_what_lies_at_the_points(tiny):
    model, _ = tiny
    number = torch.arange(800.0).view(1, 1, 20, 40)
    seen = DetectionMap(
        number.expand(-1, 16, -1, -1), torch.zeros(1, 3, 20, 40), torch.zeros(1, 3, ATTRIBUTE_DIM, 20, 40)
    )
    points = torch.zeros(1, 2, 5)
    points[0, :, :2] = cell_centres(model.config, torch.tensor([125, 431]))
    found = model.progress.sample_features(seen, points)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([125.0, 431.0]), atol=1e-3, rtol=0)
    points[0, 0, 1] += model.config.cell_size[1] / 2  # halfway to the next column
    torch.testing.assert_close(
        model.progress.sample_features(seen, points)[0, 0, 0], torch.tensor(125.5), atol=1e-3, rtol=0
    )
    points[0, :, :2] = torch.tensor([[-3.0, -3.0], [3.0, 3.0]])  # beyond the table: what lies at its border
    assert model.progress.sample_features(seen, points)[0, :, 0].tolist() == [0.0, 799.0]


def test_it_judges_by_what_changed_and_by_heights(tiny, monkeypatch):
    model, _ = tiny
    head, given = model.progress, []
    monkeypatch.setattr(head.judge, "forward", lambda x: given.append(x) or x[:, :1])
    before, now = torch.rand(1, 2, head.dim), torch.rand(1, 2, head.dim)
    points = torch.tensor([[[0.4, 0.1, 0.05, 0.2, 0.04], [0.6, -0.2, 0.1, 0.3, 0.03]]])
    head(before, now, points)
    was, change, heights = given[0][0].split([2 * head.dim, 2 * head.dim, 5])
    torch.testing.assert_close(was, before.flatten())
    torch.testing.assert_close(change, (now - before).flatten())
    torch.testing.assert_close(heights, torch.tensor([1.0, 2.0, 0.8, 0.6, -0.2]))
