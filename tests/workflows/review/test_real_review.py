"""A review of real scenes: Indian Pines with wrong labels planted in it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from scipy import ndimage

from explanation_layers.engine.jobs import MisclassificationsJob, TrainClassifierJob
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.misclassifications import find_errors
from explanation_layers.workflows.train_classifier import train

from .planted import burnt, rows_of

pytestmark = pytest.mark.slow

SIDE = 145


def quiet() -> Context:
    return Context("pines", lambda message: None)


@pytest.fixture(scope="module")
def pines(shared, tmp_path_factory):
    """Indian Pines with the labels of seven small fields changed: paths, and where they were.

    These fields do not train: a network of patches learns a field's wrong label by heart.
    """
    source, folder = shared / "data" / "indian_pines", tmp_path_factory.mktemp("pines")
    cube = np.load(source / "Indian_pines_corrected.npy").transpose(2, 0, 1).astype("uint16")
    truth = np.load(source / "Indian_pines_gt.npy").astype("uint8")
    rng = np.random.default_rng(0)
    labels, planted = truth.copy(), np.zeros(truth.shape, dtype=bool)
    classes = [number for number in range(1, 17) if (truth == number).sum() >= 200]
    fields = []
    for number in classes:
        parts, count = ndimage.label(truth == number)
        fields += [(number, parts == part) for part in range(1, count + 1)
                   if 30 <= (parts == part).sum() <= 200]  # fmt: skip
    for index in rng.permutation(len(fields))[:7]:
        number, field = fields[index]
        labels[field] = rng.choice([other for other in classes if other != number])
        planted |= field
    paths = [str(folder / name) for name in ("scene.tif", "labels.tif", "model.safetensors", "train.tif")]
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE}
    with rasterio.open(paths[0], "w", count=len(cube), dtype="uint16", **profile) as file:
        file.write(cube)
    for path, values in ((paths[1], labels), (paths[3], np.where(planted, 0, labels))):
        with rasterio.open(path, "w", count=1, dtype="uint8", **profile) as file:
            file.write(values, 1)
    job = TrainClassifierJob(
        paths[0], paths[2], label_raster=paths[3], architecture="spatial_cnn", patch_size=5, epochs=20,
        split="random", test_share=0.7, compare_splits=False,
    )  # fmt: skip
    accuracy = train(job, quiet())["numbers"]["OVERALL_ACCURACY"]
    return paths[:3], planted, accuracy


def test_wrong_labels_planted_in_indian_pines_are_suspected(pines, tmp_path):
    (scene, labels, model), planted, accuracy = pines
    report = tmp_path / "report.html"
    job = MisclassificationsJob(
        scene=scene, model=model, label_raster=labels, report=str(report), explained=20
    )
    value = find_errors(job, quiet())
    found = burnt_without_place(value["tables"]["ERRORS"], labels)
    said = found == "label error"
    recall, precision = (said & planted).sum() / planted.sum(), (said & planted).sum() / said.sum()
    print(f"accuracy {accuracy:.3f}, recall {recall:.3f}, precision {precision:.3f}", value["numbers"])
    wrong = found[planted]
    print({name: int((wrong == name).sum()) for name in np.unique(wrong.astype(str))})
    assert accuracy > 0.75
    assert recall >= 0.4
    assert precision >= 0.9
    errors = rows_of(value["tables"]["ERRORS"])
    assert sum(bool(error["evidence"]) for error in errors) == min(20, len(errors))
    assert all(error["area_m2"] is None for error in errors)


def burnt_without_place(table: dict, raster: str) -> np.ndarray:
    """Return the suspicion at each pixel of a raster without georeference, whose rows QGIS shows downward."""
    flipped = {**table, "geometries": [text.replace(" -", " ") for text in table["geometries"]]}
    return burnt(flipped, raster)
