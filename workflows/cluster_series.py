"""Cluster the embedding of a series, and name the clusters after labelled parcels."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import torch
from rasterio.windows import Window

from ..engine.series_jobs import ClusterSeriesJob
from ..models.card import SERIES_AUTOENCODER, Card, CardClass, card_classes
from ..models.files import Model
from ..rasters.errors import InputError
from ..rasters.outputs import Outputs, check_space
from ..rasters.scene import Grid
from ..rasters.series import Series
from ..rasters.styles import qml_path, write_classes_qml, write_diverging_qml
from ..rasters.writers import RasterWriter, class_dtype
from .cluster_tables import UNASSIGNED, cluster_report, cluster_tables
from .context import Context
from .devices import resolve_device
from .record import lineage_tags, run_record, stage_records, with_records
from .series_clusters import VOTES, Clusters, best_by_silhouette
from .series_labels import SeriesLabels, label_paths, read_series_labels
from .series_naming import Named, embed, figures_of, name_clusters, numbers_of
from .series_reading import draw_pixels, open_series_pair
from .tiling import BLOCK, map_tiles, tile_count, tile_side, within

_MOST_CLUSTERS = 254


def cluster(job: ClusterSeriesJob, context: Context) -> dict:
    """Cluster the embedding of the series that `job` names."""
    if job.vote not in VOTES:
        raise InputError(f"There is no vote '{job.vote}'; choose one of {', '.join(VOTES)}.")
    if job.clusters and not 2 <= job.clusters <= _MOST_CLUSTERS:
        raise InputError(f"There can't be {job.clusters} clusters; choose 2 to {_MOST_CLUSTERS}, or 0.")
    device = resolve_device(job.device)
    series, model = open_series_pair(job.series, job.model, context, SERIES_AUTOENCODER)
    window = series.grid.window_of(job.extent)
    inputs = [*series.paths, job.model, *label_paths(job)]
    with Outputs(context.job_id, with_records(job.output_paths()), inputs) as outputs:
        labels = read_series_labels(job, series.grid, context)
        if job.classes and labels is None:
            raise InputError("CLASSES names clusters after LABELS; give labels, or leave CLASSES empty.")
        _check_space(job, series.grid.sub(window), model.card)
        context.progress(0.0, "Reading pixels to cluster")
        split = labels.split(job.test_share, job.seed) if labels is not None else None
        tests = labels.keys[split.test] if labels is not None and split is not None else None
        sample = draw_pixels(series, window, job.sample, job.seed, context.check, tests)
        embedding = embed(model, sample.values, device, context)
        facts: dict = {"model_digest": model.card.digest, "notes": list(series.notes)}
        count = job.clusters
        if not count and labels is not None:
            count = 2 * len(labels.names)
        elif not count:
            context.progress(0.2, "Looking for the number of clusters")
            count, facts["silhouettes"] = best_by_silhouette(embedding, job.seed)
        context.check()
        clusters = Clusters(embedding, count, job.seed)
        result = None
        if labels is not None:
            context.progress(0.3, "Naming clusters after labels")
            result = name_clusters(job, context, series, model, labels, clusters, embedding, device)
            facts |= figures_of(result)
        facts |= {"clusters": count, "clustered_pixels": len(sample), "centres": clusters.centres.tolist()}
        pixels = _map(job, context, series, model, window, clusters, result, labels, outputs, facts, device)
        record = run_record(job, context, {**facts, "pixels_per_cluster": pixels.tolist()})
        if job.report:
            with open(outputs.stage(job.report), "w", encoding="utf-8") as file:
                file.write(
                    cluster_report(job, series, model.card, result, labels, count, len(sample), record)
                )
        stage_records(outputs, job.output_paths(), record)
    return {
        "files": job.wanted(),
        "tables": cluster_tables(result, labels),
        "numbers": {"CLUSTERS": count, **(numbers_of(result) if result else {})},
        "strings": {},
        "warnings": context.warnings,
        "record": record,
    }


def _map(
    job: ClusterSeriesJob, context: Context, series: Series, model: Model, window: Window, clusters: Clusters,
    result: Named | None, labels: SeriesLabels | None, outputs: Outputs, facts: dict, device: str,
) -> np.ndarray:  # fmt: skip
    """Write the rasters that are wanted, and return the pixels per cluster int64 (cluster,)."""
    counts = np.zeros(len(clusters), dtype=np.int64)
    grid, tags = series.grid.sub(window), lineage_tags(job, facts)
    classes = (*card_classes(labels.names), UNASSIGNED) if labels is not None else ()
    shown = card_classes([f"cluster {n}" for n in range(1, len(clusters) + 1)])
    dimensions = model.card.class_names
    limit = 1.0
    with ExitStack() as stack:
        writers = {}
        if job.embedding:
            writers["embedding"] = RasterWriter(
                outputs.stage(job.embedding), grid, len(dimensions), descriptions=dimensions, tags=tags,
                block=BLOCK,
            )  # fmt: skip
        for name, entries in (("clusters_raster", shown), ("classes", classes)):
            if path := getattr(job, name):
                writers[name] = _class_writer(outputs.stage(path), grid, entries, tags)
                write_classes_qml(outputs.stage(qml_path(path)), *_legend(entries))
        for writer in writers.values():
            stack.enter_context(writer)
        for tile, embedding, valid in _embeddings(job, context, series, model, window, device):
            found = clusters.predict(embedding[valid])
            counts += np.bincount(found, minlength=len(counts))
            planes = {"clusters_raster": _plane(found + 1, valid)}
            if result is not None:
                named = np.where(result.named < 0, len(classes) - 1, result.named)
                planes["classes"] = _plane(named[found] + 1, valid)
            values = np.where(valid[..., None], embedding, np.nan).transpose(2, 0, 1)
            limit = max(limit, float(np.nanmax(np.abs(values[0]), initial=0.0)))
            for name, writer in writers.items():
                writer.write(within(tile, window), planes.get(name, values))
    if job.embedding:
        write_diverging_qml(outputs.stage(qml_path(job.embedding)), 1, limit)
    return counts


def _embeddings(
    job: ClusterSeriesJob, context: Context, series: Series, model: Model, window: Window, device: str
) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Yield tiles with their embedding (y, x, dimension), and which pixels have data (y, x)."""
    side = tile_side(job.memory_mb, 3 * 4 * len(series.bands))
    total = tile_count(window, side)

    def read(tile: Window) -> np.ndarray:
        context.check()
        return series.read(tile)

    with ThreadPoolExecutor(1) as executor:
        for number, (tile, values) in enumerate(map_tiles(executor, read, window, side), 1):
            valid = np.isfinite(values).all(0)
            embedding = np.zeros((*valid.shape, len(model.card.classes)))
            embedding[valid] = embed(model, torch.from_numpy(values[:, valid].T), device, context)
            yield tile, embedding, valid
            context.progress(0.5 + 0.5 * number / total, f"Clustering tile {number} of {total}")


def _plane(numbers: np.ndarray, valid: np.ndarray) -> np.ndarray:
    plane = np.zeros(valid.shape, dtype=np.int64)
    plane[valid] = numbers
    return plane


def _class_writer(
    path: str, grid: Grid, entries: tuple[CardClass, ...], tags: dict[str, str]
) -> RasterWriter:
    names, colours = _legend(entries)
    return RasterWriter(
        path, grid, 1, class_dtype(len(entries)), 0, descriptions=["class"], tags=tags, class_names=names,
        class_colours=colours, block=BLOCK,
    )  # fmt: skip


def _legend(entries: tuple[CardClass, ...]) -> tuple[list[str], list[tuple[int, int, int]]]:
    return [entry.name for entry in entries], [entry.rgb for entry in entries]


def _check_space(job: ClusterSeriesJob, grid: Grid, card: Card) -> None:
    bytes_each = {"embedding": 4 * len(card.classes), "clusters_raster": 1, "classes": 1}
    pixels = grid.width * grid.height
    check_space({path: size * pixels for name, size in bytes_each.items() if (path := getattr(job, name))})
