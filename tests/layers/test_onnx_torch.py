"""The layer of PyTorch as an ONNX model of standard operators, for sequences of any length."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
layers = pytest.importorskip("afa_torch.layer")

# PyTorch copies its own trees in a way that PyTorch itself has deprecated
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:# The axis name:UserWarning"),
]

CASES = [
    ("isotropic", {"gated": True, "sphere": True, "weighting": "gaussian"}),
    ("diagonal", {"normalised": ("key",), "damping": "coupled"}),
]


@pytest.mark.parametrize(("form", "settings"), CASES)
def test_same_as_pytorch(tmp_path, form, settings):
    torch.manual_seed(0)
    layer = layers.AdaptiveFilterAttention(8, 2, form=form, **settings).eval()
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    shape = {0: batch, 1: tokens}
    options = {"query_times": torch.arange(6.0).expand(3, 6), "key_mask": torch.ones(3, 6).bool()}
    program = torch.onnx.export(
        layer,
        (torch.randn(3, 6, 8),),
        kwargs=options,
        dynamo=True,
        dynamic_shapes={"query": shape, "query_times": shape, "key_mask": shape},
        verbose=False,
    )
    program.save(tmp_path / "layer.onnx")
    assert {node.domain for node in program.model.graph} <= {"", "pkg.onnxscript.torch_lib.common"}
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        tmp_path / "layer.onnx", session_options, providers=["CPUExecutionProvider"]
    )
    assert [each.name for each in session.get_inputs()] == ["query", *options]
    for batch, tokens in ((3, 6), (2, 31), (1, 1)):
        x, key_mask = torch.randn(batch, tokens, 8), torch.rand(batch, tokens) < 0.8
        times = torch.rand(batch, tokens).cumsum(-1)
        arrays = {"query": x, "query_times": times, "key_mask": key_mask}
        found, *_ = session.run(None, {name: each.numpy() for name, each in arrays.items()})
        expected, _ = layer(x, query_times=times, key_mask=key_mask)
        torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-5, atol=1e-5)


def test_correlated_keys(tmp_path):
    """Of a fixed length, which says how many steps the scan over keys has."""
    torch.manual_seed(0)
    options = {"correlated": True, "weighting": "rational", "dtype": torch.float32}
    layer, x = layers.AdaptiveFilterAttention(8, 2, **options).eval(), torch.randn(2, 5, 8)
    program = torch.onnx.export(layer, (x,), dynamo=True, verbose=False)
    program.save(tmp_path / "layer.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "layer.onnx", providers=["CPUExecutionProvider"]
    )
    found, *_ = session.run(None, {"query": x.numpy()})
    torch.testing.assert_close(torch.as_tensor(found), layer(x)[0], rtol=1e-5, atol=1e-5)
