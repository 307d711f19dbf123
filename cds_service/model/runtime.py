"""A checked bundle becomes a running model: one ONNX Runtime session on one thread, golden rows run before the first patient."""

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from cds_service.clinical.features import Feature
from cds_service.errors import BundleError, Fault
from cds_service.model.abstain import Abstention, Gate, Laid, make_gate
from cds_service.model.bundle import Bundle, GoldenRow
from cds_service.model.chain import Chain, make_chain
from cds_service.model.graph import graph_faults

__all__ = ["Model", "open_model", "open_session"]

Float32 = npt.NDArray[np.float32]


class Model:
    """An open model. One row uses arrays that were made beforehand; a lock keeps two threads from sharing them."""

    def __init__(self, bundle: Bundle, session: ort.InferenceSession) -> None:
        self.bundle = bundle
        self.features = bundle.features
        self.gate: Gate = make_gate(bundle)
        self.chain: Chain = make_chain(bundle)
        self._session = session
        self._inputs = len(bundle.features.inputs)
        self._values = np.zeros((1, self._inputs), dtype=np.float32)
        self._present = np.zeros((1, self._inputs), dtype=np.float32)
        self._feed = {"values": self._values, "present": self._present}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self.bundle.model

    @property
    def version(self) -> str:
        return self.bundle.version

    def logits(self, laid: Laid) -> list[float]:
        """Run the graph on one row."""
        with self._lock:
            self._values[0] = laid.values
            self._present[0] = laid.present
            row: list[float] = self._session.run(["logits"], self._feed)[0][0].tolist()
        return row

    def logits_many(self, laid: Sequence[Laid]) -> list[list[float]]:
        """Run the graph on many rows at once."""
        if not laid:
            return []
        values = np.array([row.values for row in laid], dtype=np.float32)
        present = np.array([row.present for row in laid], dtype=np.float32)
        rows: list[list[float]] = self._session.run(["logits"], {"values": values, "present": present})[0].tolist()
        return rows


def open_model(bundle: Bundle, *, threads: int = 1, run_golden: bool = True) -> Model:
    """Open a bundle for predictions.

    Args:
        bundle: As :func:`~cds_service.model.bundle.load_bundle` gave it.
        threads: Intra-op threads. More than one makes a small model slower; the tests use it to show that the
            numbers do not depend on it.
        run_golden: Off only where the golden rows are being made.

    Raises:
        BundleError: The graph can't be loaded, its inputs or outputs are not those of the bundle, or a golden row
            comes out otherwise than the release says (another CPU, another runtime, an edited file). Names the
            row and the difference.
    """
    model = Model(bundle, _session(bundle, threads))
    faults = [fault for row in bundle.golden.rows for fault in _golden_faults(model, row)] if run_golden else []
    if faults:
        raise BundleError(*faults)
    return model


def open_session(graph: bytes, where: str, threads: int) -> ort.InferenceSession:
    """Open a graph from the bytes that were hashed, on the settings that were measured; never before it was looked at.

    Raises:
        BundleError: It holds what a graph may not, or ONNX Runtime refuses it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4
    refused = graph_faults(graph)
    if refused:
        raise BundleError(
            *(Fault(where, what, "Export it anew; see docs/reference/model-bundle.md") for what in refused)
        )
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # ORT has no common base but Exception; whatever it says, this file is unfit
        raise BundleError(
            Fault(where, f"ONNX Runtime refuses it ({type(fault).__name__})", "Train or restore it")
        ) from fault


def _session(bundle: Bundle, threads: int) -> ort.InferenceSession:
    where = f"{bundle.folder}/model.onnx"
    session = open_session(bundle.onnx, where, threads)
    width = len(bundle.features.inputs)
    found = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
    if found != {"values": ("tensor(float)", [width]), "present": ("tensor(float)", [width])}:
        raise BundleError(Fault(where, f"its inputs are not values and present, float [N, {width}]", "Export it anew"))
    gives = {node.name: (node.type, node.shape[1:]) for node in session.get_outputs()}
    if gives != {"logits": ("tensor(float)", [len(bundle.outputs)])}:
        raise BundleError(Fault(where, f"its output is not logits, float [N, {len(bundle.outputs)}]", "Export it anew"))
    declared = session.get_modelmeta().custom_metadata_map.get("inputs", "")
    if declared.split(",") != [spec.name for spec in bundle.features.inputs]:
        raise BundleError(
            Fault(where, "it was made for other inputs than features.toml declares, or another order", "Export it anew")
        )
    return session


def _golden_faults(model: Model, row: GoldenRow) -> list[Fault]:
    where = f"{model.bundle.folder}/golden.json: row {row.id}"
    laid = model.gate.lay_out({name: Feature(name, value) for name, value in row.features.items()})
    if isinstance(laid, Abstention):
        return [Fault(where, f"the model abstains ({laid.reason})", "Restore the bundle from its release")]
    got = model.chain.probabilities(model.logits(laid))
    faults = []
    for output, probability in zip(model.bundle.outputs, got, strict=True):
        gap = abs(probability - row.expected[output])
        if not gap <= model.bundle.golden.tolerance:
            what = f"{output} differs by {gap:.3g}, more than {model.bundle.golden.tolerance:g}"
            faults.append(
                Fault(
                    where,
                    what,
                    "Serve it only where it gives the released numbers: restore the bundle, or check CPU and runtime",
                )
            )
    return faults
