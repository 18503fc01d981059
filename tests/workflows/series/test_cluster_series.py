import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import ClusterSeriesJob, SeriesSource
from explanation_layers.rasters.class_rasters import category_names
from explanation_layers.rasters.errors import InputError
from explanation_layers.workflows.cluster_series import cluster

from .conftest import DATES, EMPTY, PLANTED, make_series


def clustering(scene, model, **settings):
    return ClusterSeriesJob(series=scene.source, model=model, **settings)


@pytest.fixture(scope="module")
def result(scene, model, tmp_path_factory):
    """Everything that clusterseries leaves for the labelled series."""
    from explanation_layers.workflows.context import Context

    folder = tmp_path_factory.mktemp("clusters")
    outputs = {name: str(folder / f"{name}.tif") for name in ("embedding", "clusters_raster", "classes")}
    job = clustering(
        scene, model, label_features=scene.parcels, **outputs, report=str(folder / "report.html")
    )
    return job, cluster(job, Context("job", lambda message: None, 0))


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_clusters_of_planted_classes_are_these_classes(result, scene):
    job, found = result
    assert found["numbers"]["CLUSTERS"] == 2 * len(PLANTED)
    assert found["numbers"]["OVERALL_ACCURACY"] > 0.95
    assert found["numbers"]["SUPERVISED_ACCURACY"] > 0.95
    classes = read(job.classes)[0]
    valid = np.isfinite(scene.power).any((0, 1))
    assert (classes[EMPTY] == 0).all() and not (classes[valid] == 0).any()
    agreement = (classes[valid] == scene.classes[valid] + 1).mean()
    assert agreement > 0.95
    assert list(category_names(job.classes).values()) == [*PLANTED, "unassigned"]


def test_the_confusion_is_in_per_cent_of_its_rows(result):
    _, found = result
    table = found["tables"]["CONFUSION"]
    assert [row[0] for row in table["rows"]] == list(PLANTED)
    for row in table["rows"]:
        assert sum(row[1:-1]) == pytest.approx(100, abs=0.05)
    counted = sum(row[-1] * row[1 + i] / 100 for i, row in enumerate(table["rows"]))
    total = sum(row[-1] for row in table["rows"])
    assert counted / total == pytest.approx(found["numbers"]["OVERALL_ACCURACY"], abs=1e-3)


def test_scores_are_given_for_once_twice_and_three_times_the_classes(result):
    _, found = result
    rows = found["tables"]["SCORES"]["rows"]
    assert [row[:2] for row in rows] == [
        [count, vote] for count in (3, 6, 9) for vote in ("majority", "balanced", "one_to_one")
    ]
    assert [row[2] for row in rows].count("yes") == 1


def test_a_window_has_the_clusters_of_the_whole(result, scene, model, tmp_path, context):
    job, _ = result
    path = str(tmp_path / "part.tif")
    # The clusters come from the extent's pixels, so only the embedding is the same.
    part = clustering(
        scene, model, clusters=3, embedding=path, extent=[300_200.0, 5_799_400.0, 300_500.0, 5_799_800.0]
    )
    cluster(part, context)
    np.testing.assert_allclose(read(path), read(job.embedding)[:, 10:30, 10:25], atol=1e-5)


def test_without_labels_the_silhouette_chooses(scene, model, tmp_path, context):
    found = cluster(clustering(scene, model, clusters_raster=str(tmp_path / "clusters.tif")), context)
    assert found["numbers"] == {"CLUSTERS": 3} and not found["tables"]
    clusters = read(tmp_path / "clusters.tif")[0]
    valid = np.isfinite(scene.power).any((0, 1))
    pairs = np.unique(np.stack([clusters[valid], scene.classes[valid]]), axis=1, return_counts=True)[1]
    assert np.sort(pairs)[-3:].sum() > 0.95 * valid.sum()


def test_what_does_not_fit_is_said(scene, model, tmp_path, context):
    with pytest.raises(InputError, match="CLASSES names clusters after LABELS"):
        cluster(clustering(scene, model, classes=str(tmp_path / "classes.tif")), context)
    with pytest.raises(InputError, match="There can't be 1 clusters"):
        cluster(clustering(scene, model, clusters=1), context)
    other = make_series(tmp_path, dates=("2018-01-03", *DATES[1:]), name="other.tif")
    with pytest.raises(InputError, match="lacks 2017-01-03"):
        cluster(ClusterSeriesJob(series=SeriesSource((other.raster,)), model=model), context)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.tif", "parcels.geojson"]
