"""Series as they come: MODIS over Mato Grosso, Sentinel-1 over Niger, monthly Sentinel-1 over Belgium."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import rasterio
import torch
from rasterio.warp import transform
from sklearn.ensemble import RandomForestClassifier

from explanation_layers.engine.jobs import (
    AttributionJob,
    ClassifyJob,
    ClusterSeriesJob,
    GradSlamJob,
    SeriesSource,
    TrainAutoencoderJob,
    TrainClassifierJob,
)
from explanation_layers.models.card import SERIES_AUTOENCODER
from explanation_layers.models.files import load_model
from explanation_layers.rasters.class_rasters import category_names
from explanation_layers.rasters.series import open_series
from explanation_layers.workflows.attribution import explain as explain_classes
from explanation_layers.workflows.classify import classify
from explanation_layers.workflows.cluster_series import cluster
from explanation_layers.workflows.context import Context
from explanation_layers.workflows.grad_slam import explain
from explanation_layers.workflows.samples import read_samples
from explanation_layers.workflows.train_autoencoder import train
from explanation_layers.workflows.train_classifier import train as train_classifier
from explanation_layers.workflows.training_labels import read_labels

pytestmark = pytest.mark.slow


def context() -> Context:
    return Context("real", lambda message: None, 0)


def season(folder, target, year: int) -> tuple[SeriesSource, str]:
    """The season from September of `year` on, and its labelled points in the raster's CRS."""
    with rasterio.open(folder / "red.tif") as dataset:
        crs = dataset.crs
    with open(folder / "samples.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["from"] == f"{year}-09-01"]
    xs, ys = transform(
        "EPSG:4326", crs, [float(r["longitude"]) for r in rows], [float(r["latitude"]) for r in rows]
    )
    features = [
        {"type": "Feature", "properties": {"class": row["label"]},
         "geometry": {"type": "Point", "coordinates": [x, y]}}
        for row, x, y in zip(rows, xs, ys)
    ]  # fmt: skip
    target.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    dates = tuple((folder / "timeline").read_text().split())
    paths = tuple(str(folder / f"{name}.tif") for name in ("blue", "red", "nir", "mir", "evi", "ndvi"))
    source = SeriesSource(paths, dates=dates, start=f"{year}-09-01", end=f"{year + 1}-08-31")
    return source, str(target)


def moved_by_dates(source, model, classes, names, direction, importance) -> tuple[float, float]:
    """How far pixels of two classes move along their contrast when dates become those of the classes' mean.

    For the three most important dates of each pixel, and for three others at random.
    """
    loaded = load_model(model, SERIES_AUTOENCODER)
    series = open_series(source.paths, dates=source.dates, start=source.start, end=source.end)
    with rasterio.open(importance) as dataset, rasterio.open(classes) as class_raster:
        maps, numbers = dataset.read(), class_raster.read(1)
    known = [name for _, name in sorted(category_names(classes).items())]
    sides = [numbers == known.index(name) + 1 for name in names]
    values = series.read(series.grid.whole)
    middle = np.mean([values[:, side].mean(1) for side in sides], axis=0)
    chosen = sides[0] | sides[1]
    rows, dates = values[:, chosen].T, np.argsort(-maps[:, chosen].T, axis=1)
    rng, network = np.random.default_rng(0), loaded.network

    def coordinate(of: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network.encode(network.prepare(torch.from_numpy(of))).numpy() @ direction

    def moved(replaced: np.ndarray) -> float:
        changed = rows.copy().reshape(len(rows), len(series.dates), -1)
        for row, days in enumerate(replaced):
            changed[row, days] = middle.reshape(len(series.dates), -1)[days]
        return float(np.abs(coordinate(changed.reshape(rows.shape)) - coordinate(rows)).mean())

    others = np.array([rng.permutation(row[3:])[:3] for row in dates])
    return moved(dates[:, :3]), moved(others)


@pytest.mark.parametrize("year", [2010, 2011])
def test_seasons_of_mato_grosso_are_clustered_into_their_crops(shared, tmp_path, year):
    folder = shared / "data" / "modis_mato_grosso_cube"
    source, labels = season(folder, tmp_path / "labels.geojson", year)
    model = str(tmp_path / "model.safetensors")
    trained = train(TrainAutoencoderJob(series=source, label_features=labels, model=model), context())
    explained = [row[5] for row in trained["tables"]["ERRORS"]["rows"] if row[0] == "test"]
    classes = str(tmp_path / "classes.tif")
    found = cluster(
        ClusterSeriesJob(series=source, label_features=labels, model=model, classes=classes), context()
    )
    print(year, explained, found["numbers"])
    assert trained["numbers"]["DATES"] == 23 and np.mean(explained) > 0.5
    # The largest class has 0.62 and 0.32 of the points.
    assert found["numbers"]["BALANCED_ACCURACY"] > 0.8
    assert found["numbers"]["SUPERVISED_ACCURACY"] > 0.95
    path = str(tmp_path / "dates.tif")
    names = ("Forest", "Soybean-millet")
    result = explain(
        GradSlamJob(
            series=source, label_raster=classes, model=model, target="contrast", class_name=names[0],
            contrast_class=names[1], variant="element_wise", date_importance=path,
            plot=str(tmp_path / "plot.png"),
        ),
        context(),
    )  # fmt: skip
    (direction,) = result["record"]["directions"].values()
    moved = moved_by_dates(source, model, classes, names, np.array(direction), path)
    print(year, "moved by the top dates and by random ones", moved, result["strings"]["TOP_DATES"])
    assert moved[0] > 1.1 * moved[1]
    with rasterio.open(path) as dataset:
        assert (dataset.count, dataset.width, dataset.height) == (23, 37, 27)


@pytest.mark.parametrize("year", [2010, 2011])
def test_seasons_of_mato_grosso_are_classified_and_explained_by_date(shared, tmp_path, year):
    folder = shared / "data" / "modis_mato_grosso_cube"
    source, labels = season(folder, tmp_path / "labels.geojson", year)
    model, out = str(tmp_path / "model.safetensors"), str(tmp_path / "out.tif")
    job = TrainClassifierJob(
        None, model, series=source, label_features=labels, split="parcels", compare_splits=False
    )
    trained = train_classifier(job, context())
    series = open_series(source.paths, dates=source.dates, start=source.start, end=source.end)
    found = read_labels(job, series, context())
    samples = read_samples(
        series, found.pixels, range(len(series.bands)), 1, 0, context().check, context().warn
    )
    (split,) = found.splits(job, samples, context())
    values, classes = samples.spectra[samples.index[:, 0].long()].numpy(), samples.classes.numpy()
    forest = RandomForestClassifier(100, random_state=0).fit(values[split.train], classes[split.train])
    by_forest = forest.score(values[split.test], classes[split.test])
    accuracy = trained["numbers"]["OVERALL_ACCURACY"]
    print(year, "network", accuracy, "forest", by_forest, "of", len(split.test))
    assert accuracy > 0.95 and accuracy >= by_forest - 0.03
    classify(ClassifyJob(None, model, series=source, classes=out), context())
    with rasterio.open(out) as dataset:
        assert set(np.unique(dataset.read(1))) <= {0, *range(1, len(samples.names) + 1)}
    result = explain_classes(AttributionJob(None, model, series=source, attribution=out, steps=16), context())
    assert result["numbers"]["MEAN_RESIDUAL"] < 0.05 and result["numbers"]["PIXELS"] == 37 * 27
    with rasterio.open(out) as dataset:
        assert dataset.count == 23 * 6 and dataset.descriptions[0].startswith(f"{year}-09-14 ")
    rows = result["tables"]["BAND_TABLE"]["rows"]
    for name in samples.names:
        own = {row[2]: row[4] for row in rows if row[0] == name}
        print(year, name, sorted(own, key=own.get)[:-5:-1])


def test_niger_goes_the_whole_way_without_labels(shared, tmp_path):
    folder = shared / "data" / "s1_series_niger" / "S32631X402380Y1491460sS1_A_vh_mtfil"
    source, model = SeriesSource((str(folder),)), str(tmp_path / "model.safetensors")
    job = TrainAutoencoderJob(series=source, model=model, values="amplitude", calibration=-83.0)
    trained = train(job, context())
    (row,) = [row for row in trained["tables"]["ERRORS"]["rows"] if row[0] == "validation"]
    found = cluster(
        ClusterSeriesJob(series=source, model=model, clusters_raster=str(tmp_path / "c.tif")), context()
    )
    path = str(tmp_path / "dates.tif")
    result = explain(GradSlamJob(series=source, model=model, date_importance=path), context())
    print(row, found["numbers"], result["strings"])
    assert trained["numbers"]["DATES"] == 60 and row[1] == "VH" and row[5] > 0.7
    assert 2 <= found["numbers"]["CLUSTERS"] <= 12
    with rasterio.open(path) as dataset:
        assert dataset.descriptions[0] == "2015-04-03" and dataset.count == 60
        assert (dataset.width, dataset.height, dataset.crs.to_epsg()) == (44, 38, 32631)
        assert np.isfinite(dataset.read()).all()


def test_monthly_vv_and_vh_of_a_netcdf_file_share_the_embedding(shared, tmp_path):
    path = shared / "data" / "worldcereal_s1_s2" / "worldcereal_preprocessed_inputs.nc"
    source = SeriesSource((str(path),), channels=("S1-SIGMA0-VV", "S1-SIGMA0-VH"))
    model, shares = str(tmp_path / "model.safetensors"), str(tmp_path / "shares.tif")
    job = TrainAutoencoderJob(series=source, model=model, values="amplitude", calibration=-83.0)
    trained = train(job, context())
    result = explain(
        GradSlamJob(series=SeriesSource((str(path),)), model=model, channel_share=shares), context()
    )
    with rasterio.open(shares) as dataset:
        found = dataset.read()
        assert dataset.descriptions == ("S1-SIGMA0-VV", "S1-SIGMA0-VH")
    print(trained["numbers"], found.mean((1, 2)), result["strings"])
    assert trained["numbers"]["DATES"] == 12
    # dB²; the variances are about 7.
    assert trained["numbers"]["RECONSTRUCTION_ERROR"] < 2.5
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    assert 0.2 < found[0].mean() < 0.8
