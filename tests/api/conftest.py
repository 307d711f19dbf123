"""A small model in memory, made of the real feature declaration, and a client of the whole door around the windows."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from starlette.routing import Router

from cds_service.api.docs_page import docs_routes
from cds_service.api.inference import inference_routes
from cds_service.api.openapi import openapi_routes
from cds_service.api.operations import WITHOUT_AUTHENTICATION, operations_routes
from cds_service.api.predict import Window, predict_routes
from cds_service.clinical.feature_spec import read_feature_set
from cds_service.errors import Fault, StoreUnavailable
from cds_service.model.bundle import (
    Bundle,
    Calibration,
    CalibrationBin,
    CalibrationStep,
    Golden,
    InputReference,
    Manifest,
    OperatingPoint,
    Reference,
)
from cds_service.model.runtime import open_model
from cds_service.web.asgi import Door
from cds_service.web.cors import CORS
from cds_service.web.metrics import Registry

NOW = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)
OUTPUTS = {"ge57": "HbA1c >= 5.7 %", "ge60": "HbA1c >= 6.0 %", "ge65": "HbA1c >= 6.5 %"}
FEATURES = Path(__file__).parents[2] / "recipes" / "dysglycaemia" / "features.toml"


def tiny_graph(names):
    """Logits = present-masked values × small weights: enough to show that each input arrives."""
    weights = np.tile(np.linspace(0.001, 0.01, len(names), dtype=np.float32)[:, None], (1, len(OUTPUTS)))
    nodes = [
        helper.make_node("Mul", ["values", "present"], ["seen"]),
        helper.make_node("MatMul", ["seen", "weights"], ["raw"]),
        helper.make_node("Sub", ["raw", "offset"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(names)]) for name in ("values", "present")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(OUTPUTS)])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2.0, 3.0, 4.0], dtype=np.float32), "offset"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {"inputs": ",".join(names)})
    return model.SerializeToString()


def deciles(spec):
    low, high = spec.plausible or (0.0, 1.0)
    return tuple(low + (high - low) * tenth / 20 for tenth in range(1, 10))


def tiny_model():
    features = read_feature_set(tomllib.loads(FEATURES.read_text()))
    names = [spec.name for spec in features.inputs]
    edges = (0.0, 1.0)
    bundle = Bundle(
        folder="tiny",
        manifest=Manifest(
            format=1, model="dysglycaemia", version="1.2.3", made_by="test", commit="0", parent="", minimum_inputs=3,
            data=(), population={}, prevalence={"ge57": 0.3, "ge60": 0.12, "ge65": 0.05}, outputs=OUTPUTS, files={},
        ),
        features=features,
        calibration=Calibration(
            method="test",
            steps=tuple(CalibrationStep(name, 0.0, 1.0) for name in OUTPUTS),
            minimum_cases=20,
            bins={name: (CalibrationBin(*edges, 1000, 0.3, 0.3),) for name in OUTPUTS},
        ),
        operating_points={"high": OperatingPoint("ge57", 0.5, (1, 1, 1), (1, 1, 1), 0.1, "all", 100)},
        reference=Reference(
            rows=1000,
            inputs={spec.name: InputReference(-1e6, 1e6, deciles(spec), 0.1) for spec in features.inputs},
            scores={},
        ),
        golden=Golden(tolerance=1e-6, rows=()),
        metrics={},
        onnx=tiny_graph(names),
    )  # fmt: skip
    return open_model(bundle)


class Kept:
    """An event store that remembers; it can be told to fail."""

    def __init__(self):
        self.events = []
        self.fails = False

    async def append(self, events):
        if self.fails:
            raise StoreUnavailable(Fault("events", "the store can't keep them", "try again"))
        self.events.extend(events)


@pytest.fixture(scope="session")
def model():
    return tiny_model()


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def window(model, kept):
    return Window({"dysglycaemia": model}, kept.append, lambda: NOW, tenant="clinic", client="development")


@pytest.fixture
def door(window, kept):
    registry = Registry()
    routes = [
        *predict_routes(window),
        *inference_routes(window),
        *openapi_routes(window.models, SERVICES),
        *docs_routes(),
        *operations_routes(
            mode=WITHOUT_AUTHENTICATION,
            checks={"models": lambda: True, "store": lambda: not kept.fails},
            registry=registry,
        ),
    ]
    return Door(
        Router(routes, redirect_slashes=False), routes=routes, hosts=["testserver", "127.0.0.1"],
        cors=CORS(["https://ehr.example"]), registry=registry,
    )  # fmt: skip


@pytest.fixture
def ask(door):
    """Send one request through the door: ``ask("POST", "/predict/x", json={…})``."""

    async def asked(method, path, **more):
        transport = httpx.ASGITransport(door, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.request(method, path, **more)

    def ask(method, path, **more):
        import asyncio

        return asyncio.run(asked(method, path, **more))

    return ask


SERVICES = [
    {
        "hook": "patient-view",
        "id": "dysglycaemia-screening",
        "title": "Undetected diabetes",
        "description": "Estimates.",
        "prefetch": {"patient": "Patient/{{context.patientId}}"},
    }
]
