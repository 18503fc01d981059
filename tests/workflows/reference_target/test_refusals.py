"""What the target `reference` refuses, and jobs that are saved."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio

from explanation_layers.engine.jobs import AttributionJob, job_from_dict
from explanation_layers.models.card import PIXEL_CLASSIFICATION
from explanation_layers.models.files import load_model
from explanation_layers.rasters.errors import InputError
from explanation_layers.rasters.scene import open_scene
from explanation_layers.workflows.attribution import explain
from explanation_layers.workflows.context import Context

from .conftest import rectangle, same, write_classes, write_features


@pytest.mark.parametrize("features", [True, False], ids=["features", "raster"])
def test_a_class_that_the_model_does_not_know_is_told_with_those_that_it_knows(
    run, tmp_path, site, spectral_model, features
):
    if features:
        path = write_features(tmp_path / "f.geojson", [("lake", rectangle(site.grid, 5, 5, 4, 4))])
        given = {"reference_features": path}
    else:
        classes = np.where(site.classes == 3, 7, site.classes)
        given = {
            "reference_raster": write_classes(
                tmp_path / "c.tif", site.scene, classes, {**site.names, 7: "lake"}
            )
        }
    names = ", ".join(load_model(spectral_model, PIXEL_CLASSIFICATION).card.class_names)
    with pytest.raises(InputError, match="does not know the class 'lake' of the reference; its") as caught:
        run(site.scene, spectral_model, target="reference", **given)
    assert f"classes are {names}: name the classes alike" in str(caught.value)
    assert not list(tmp_path.glob("*ttribution*"))


def test_a_class_elsewhere_on_the_scene_does_not_matter(run, tmp_path, site, spectral_model):
    far, near = rectangle(site.grid, 45, 45, 4, 4), rectangle(site.grid, 12, 14, 9, 4)
    path = write_features(tmp_path / "f.geojson", [("lake", far), (site.names[1], near)])
    options = {"target": "reference", "reference_features": path, "explainer": "saliency"}
    assert run(site.scene, spectral_model, extent=site.extent, **options).numbers["PIXELS"] == 36
    with pytest.raises(InputError, match="does not know the class 'lake'"):
        run(site.scene, spectral_model, **options)


def test_a_missing_reference_is_told_before_the_files_are_opened(context):
    with pytest.raises(InputError, match="'reference' needs REFERENCE: points or polygons with a class"):
        explain(AttributionJob("nowhere.tif", "nowhere.safetensors", target="reference"), context)


def test_a_reference_that_names_nothing_there(run, tmp_path, site, spectral_model):
    far = write_features(tmp_path / "far.geojson", [(site.names[1], rectangle(site.grid, 500, 500, 4, 4))])
    with pytest.raises(InputError, match="No feature of .* names the class of a pixel where it was to be"):
        run(site.scene, spectral_model, target="reference", reference_features=far)
    empty = write_classes(tmp_path / "empty.tif", site.scene, np.zeros_like(site.classes))
    with pytest.raises(InputError, match="No pixel of the scene has a class in"):
        run(site.scene, spectral_model, target="reference", reference_raster=empty)


def test_a_reference_where_the_scene_has_no_data(run, tmp_path, street, unet):
    grid = open_scene(street).grid
    path = write_features(tmp_path / "corner.geojson", [("sky", rectangle(grid, 2, 2, 5, 4))])
    with pytest.raises(InputError, match="No pixel that the reference names a class of has data in all"):
        run(street, unet, explainer="secant_contributions", target="reference", reference_features=path)


def test_scene_classifiers_say_what_can_be_chosen(run, radar, chip_model, tmp_path):
    path = write_classes(tmp_path / "c.tif", radar, np.ones((53, 70)), {1: "town"})
    sentence = "for classifiers of pixels, explained by 'attribution'; choose one of predicted, class, cont"
    with pytest.raises(InputError, match=sentence):
        run(radar, chip_model, target="reference", reference_raster=path, explainer="saliency")


@pytest.mark.parametrize("options", [{}, {"target": "contrast"}])
def test_with_other_targets_a_reference_is_idle(run, site, spectral_model, options):
    options = {"extent": site.extent, "explainer": "saliency", **options}
    plain = run(site.scene, spectral_model, **options)
    given = run(site.scene, spectral_model, reference_raster=site.reference, **options)
    assert same(given.attribution, plain.attribution)
    assert given.warnings == [
        f"REFERENCE is not used with TARGET={options.get('target', 'predicted')}.", *plain.warnings
    ]  # fmt: skip


def test_a_saved_job_is_the_same(run, site, spectral_model, tmp_path):
    options = {"extent": site.extent, "explainer": "deeplift", "target": "reference"}
    job = AttributionJob(
        site.scene, spectral_model, baseline="mean", attribution=str(tmp_path / "saved.tif"),
        reference_raster=site.reference, unlabelled_value=0, **options,
    )  # fmt: skip
    again = job_from_dict(json.loads(json.dumps(job.to_dict())))
    assert again == job
    record = explain(again, Context("saved", lambda message: None))["record"]
    assert job_from_dict({**record["job"], "kind": "attribution"}) == job
    with rasterio.open(tmp_path / "saved.tif") as dataset:
        saved = dataset.read()
    found = run(site.scene, spectral_model, reference_raster=site.reference, **options)
    assert same(saved, found.attribution)


def test_outputs_do_not_overwrite_the_reference(run, site, spectral_model, context):
    job = AttributionJob(
        site.scene, spectral_model, target="reference", reference_raster=site.reference,
        attribution=site.reference,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"reference\.tif"):
        explain(job, context)
