import json

import numpy as np
import pytest
from affine import Affine

from explanation_layers.models.splits import parcel_split
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.grid import Grid
from explanation_layers.rasters.labels import LabelledPixels, read_label_features
from explanation_layers.rasters.parcels import parcels_of, with_only_ones_cut


def labelled(picture, parcels=None):
    picture = np.array(picture)
    rows, cols = np.nonzero(picture)
    classes = picture[rows, cols] - 1
    names = tuple(f"class {n}" for n in range(classes.max() + 1))
    return LabelledPixels(rows, cols, classes.astype(np.int64), names, parcels=parcels), picture.shape[1]


def test_pixels_of_a_class_that_touch_are_one_parcel():
    labels, width = labelled([
        [1, 1, 0, 2, 2],
        [0, 0, 1, 0, 1],
        [2, 0, 0, 0, 1],
        [0, 0, 0, 2, 0],
    ])  # fmt: skip
    assert parcels_of(labels, width).tolist() == [0, 0, 1, 1, 0, 2, 3, 2, 4]


def test_the_ends_of_rows_do_not_touch_the_starts_of_the_next():
    labels, width = labelled([[0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert parcels_of(labels, width).tolist() == [0, 1, 2]


def test_polygons_that_touch_are_parcels_of_their_own(tmp_path):
    def square(x, y, name):
        ring = [[x, y], [x + 2, y], [x + 2, y + 2], [x, y + 2], [x, y]]
        return {"type": "Feature", "properties": {"class": name},
                "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip

    path = tmp_path / "parcels.geojson"
    features = [square(0, 0, "wheat"), square(2, 0, "wheat"), square(4, 0, "beet")]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    labels = read_label_features(str(path), Grid(6, 2, None, Affine(1, 0, 0, 0, -1, 2)))
    assert parcels_of(labels, 6).tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_no_parcel_is_on_both_sides_and_every_class_is():
    rng = np.random.default_rng(3)
    parcels = rng.integers(0, 40, 2000)
    classes = parcels % 3
    split = parcel_split(parcels, classes, ("a", "b", "c"), 0.3, 1)
    assert not set(parcels[split.train]) & set(parcels[split.test])
    assert set(classes[split.train]) == set(classes[split.test]) == {0, 1, 2}
    assert len(split.test) / 2000 == pytest.approx(0.3, abs=0.08)
    again = parcel_split(parcels, classes, ("a", "b", "c"), 0.3, 1)
    assert np.array_equal(split.test, again.test)


def test_a_class_of_one_parcel_is_named():
    with pytest.raises(InputError, match="'beet' lies in fewer than two parcels"):
        parcel_split(np.array([0, 1, 2]), np.array([0, 0, 1]), ("wheat", "beet"), 0.3, 0)


def test_the_only_parcel_of_a_class_is_cut_across_its_longer_side():
    labels, width = labelled([[1, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0], [2, 0, 2, 0, 0, 0, 0, 0]])
    parcels, cut = with_only_ones_cut(labels, parcels_of(labels, width))
    assert cut == [0]
    assert len(np.unique(parcels)) == 6 and len(set(parcels[8:].tolist())) == 2
    assert [np.count_nonzero(parcels == parcels[i]) for i in (0, 2, 4, 6)] == [2, 2, 2, 2]
