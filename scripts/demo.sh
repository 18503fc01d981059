#!/usr/bin/env bash
# The main job on simulated data, through qgis_process; then a project and a picture of it. All goes to demo/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf demo
mkdir demo

step() { # id, inputs as JSON
    echo "explain:$1"
    if ! printf '{"inputs": %s}' "$2" | scripts/qgis-process run "explain:$1" - >"demo/$1.out" 2>"demo/$1.log"; then
        cat "demo/$1.log" "demo/$1.out" >&2
        exit 1
    fi
    rm "demo/$1.out" "demo/$1.log"
}

step demodata '{"SCENE": "hyperspectral", "SIZE": 128, "SEED": 1, "FOLDER": "demo/data"}'
step trainclassifier '{
    "INPUT": "demo/data/scene.tif", "LABELS": "demo/data/labels.geojson", "LABEL_FIELD": "class",
    "ARCHITECTURE": "spectral_cnn", "EPOCHS": 15, "SEED": 1,
    "MODEL": "demo/model.safetensors", "CONFUSION": "demo/confusion.csv", "REPORT": "demo/report.html"}'
step classify '{
    "INPUT": "demo/data/scene.tif", "MODEL": "demo/model.safetensors",
    "CLASSES": "demo/classes.tif", "CONFIDENCE": "demo/confidence.tif"}'
step attribution '{
    "INPUT": "demo/data/scene.tif", "MODEL": "demo/model.safetensors",
    "EXPLAINER": "integrated_gradients", "TARGET": "predicted", "BASELINE": "mean", "SEED": 1,
    "ATTRIBUTION": "demo/attribution.tif", "SALIENCY": "demo/saliency.tif", "BAND_TABLE": "demo/bands.gpkg"}'
scripts/in-qgis python3 scripts/demo.py demo
echo "Done. The picture: demo/map.png; the project: demo/demo.qgz; the layers, tables and report beside them."
