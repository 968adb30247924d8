"""Containers with the attributes of an array are refused by name, wherever an array is expected."""

import inspect

import numpy as np
import pytest

import afa_core as afa
from afa_core import kalman
from afa_core.layer import Layer, Settings, initial

from .cases import NOISE

TOKENS, MODES = 3, 2
X, TIMES = np.random.default_rng(0).standard_normal((TOKENS, 2 * MODES)), np.arange(3.0)
MASK, KEYS, ONE = np.ones((TOKENS, TOKENS), bool), np.ones(TOKENS, bool), np.ones(())
ATTENDED = {"query": X, "key": X, "value": X, "query_times": TIMES, "key_times": TIMES}
ARGUMENTS = {
    afa.attention: {**ATTENDED, "mask": MASK, "query_variance": TIMES, "inverse_temperature": ONE},
    afa.estimate: {**ATTENDED, "mask": MASK},
    afa.attention_weights: {**ATTENDED, "mask": MASK},
    afa.explain: ATTENDED,
    afa.visited_blocks: ATTENDED,
    afa.partial_attention: ATTENDED,
    afa.windowed_attention: {**ATTENDED, "window": 2},
    afa.decode_step: {"query": X, "key": X, "value": X, "time": TIMES, "mask": KEYS},
    afa.estimate_step: {"query": X, "key": X, "value": X, "time": TIMES, "mask": KEYS},
    afa.DecodeCache.of: {"key": X, "value": X, "times": TIMES, "mask": KEYS},
    afa.DecodeCache.empty: {"key": X, "value": X, "times": TIMES, "mask": KEYS},
    afa.key_influence: {"query_times": TIMES, "key_times": TIMES, "key_mask": KEYS},
    afa.validate_times: {"times": TIMES},
    afa.delay_keys: {"key_times": TIMES, "delay": ONE},
    afa.predict: {"mean": X, "horizon": TIMES},
    afa.innovation: {"mean": X, "value": X},
    afa.gate: {"precision": TIMES, "prior_precision": ONE},
    kalman.filter: {"measurements": X, "times": TIMES, "observed": np.ones((3, 2), bool)},
    kalman.smoother: {"measurements": X, "times": TIMES},
    kalman.batch_mle: {"measurements": X, "times": TIMES},
    kalman.robust_filter: {"measurements": X, "times": TIMES, "dof": ONE},
}


class Subclass(np.ndarray):
    """Stands for arrays with units, fields, …."""


def numpy_containers(x):
    found = {
        "MaskedArray": np.ma.masked_array(x),
        "recarray": x.view(np.recarray),
        "Subclass": x.view(Subclass),
    }
    pandas = pytest.importorskip("pandas")
    if x.ndim == 1:
        found |= {"Series": pandas.Series(x), type(pandas.array(x)).__name__: pandas.array(x)}
    if x.ndim == 2:
        found |= {"matrix": np.matrix(x), "DataFrame": pandas.DataFrame(x)}
    return found


def torch_containers(x):
    torch = pytest.importorskip("torch")
    x = torch.asarray(x)
    found = {"MaskedTensor": torch.masked.masked_tensor(x, x == x)}
    if x.is_floating_point():
        found["a quantized Tensor"] = torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8)
    if x.ndim:
        found["a Tensor of layout torch.sparse_coo"] = x.to_sparse()
        found["a nested Tensor"] = torch.nested.nested_tensor([x, x])
    if x.ndim == 2:
        found["a Tensor of layout torch.sparse_csr"] = x.to_sparse_csr()
        found["NestedTensor"] = torch.nested.nested_tensor([x, x], layout=torch.jagged)
    return found


def jax_containers(x):
    return {"BCOO": pytest.importorskip("jax.experimental.sparse").BCOO.fromdense(x)}


CONTAINERS = {"numpy": numpy_containers, "torch": torch_containers, "jax": jax_containers}
QUIET = pytest.mark.filterwarnings("ignore")  # of PyTorch's prototypes


@pytest.fixture(params=CONTAINERS)
def hosted(request, host):
    """A library, and its containers of an array."""
    return host(request.param), CONTAINERS[request.param]


def model(array):
    return afa.IsotropicSDE(0.1, array(np.asarray([0.3, 1.0])), NOISE)


def assert_refused(function, arguments, name, containers, source):
    assert containers(source)
    for kind, x in containers(source).items():
        with pytest.raises(TypeError, match=rf"`{name}` must be .*, got {kind}\. ") as caught:
            function(**{**arguments, name.rpartition(".")[2]: x})
        assert not isinstance(caught.value.__cause__, AttributeError)


@QUIET
@pytest.mark.parametrize("function", ARGUMENTS, ids=lambda each: each.__qualname__)
def test_functions(hosted, function):
    library, containers = hosted
    given = ARGUMENTS[function]
    arguments = {
        name: library.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in given.items()
    }
    accepted = inspect.signature(function).parameters
    if "sde" in accepted:
        arguments["sde"] = model(library.from_numpy)
    if "cache" in accepted:
        tokens = library.from_numpy(X)
        times = library.from_numpy(TIMES - TOKENS)
        arguments["cache"] = afa.DecodeCache.of(tokens, tokens, arguments["sde"], times=times)
    if library.name == "numpy":
        function(**arguments)
    for name, x in given.items():
        if isinstance(x, np.ndarray):
            assert_refused(function, arguments, name, containers, x)


@QUIET
@pytest.mark.parametrize("name", ["decay", "frequency", "value_frequency"])
def test_models(hosted, name):
    library, containers = hosted
    x, source = library.from_numpy(np.ones((1, 2, 3, 4))), np.ones((1, 2))
    for kind, each in containers(source).items():
        sde = model(library.from_numpy)._replace(**{name: each})
        for function in (lambda sde=sde: afa.attention(x, x, x, sde), sde.validate):
            with pytest.raises(TypeError, match=rf"{name}` must be .*, got {kind}\. "):
                function()


@QUIET
def test_layers(hosted):
    """Tokens, times and masks, and parameters; a layer of PyTorch refuses in the same words."""
    library, containers = hosted
    settings = Settings(4, 1, 2, 2)
    parameters = {
        name: np.reshape(each.values or np.ones(each.shape), each.shape)
        for name, each in initial(settings).items()
    }
    layer = Layer(settings, {name: library.from_numpy(x) for name, x in parameters.items()})
    calls = [layer]
    if library.name == "torch":
        calls.append(pytest.importorskip("afa_torch").AdaptiveFilterAttention.from_layer(layer))
    sources = {**ATTENDED, "mask": MASK, "key_mask": KEYS}
    arguments = {name: library.from_numpy(x) for name, x in sources.items()}

    def call(of, **given):
        tokens = [given.pop(name) for name in ("query", "key", "value")]
        return of(*tokens, **given)

    for of in calls:
        for name, x in sources.items():
            assert_refused(lambda of=of, **given: call(of, **given), arguments, name, containers, x)
        assert_refused(of.empty_cache, {}, "tokens", containers, X)
    for name, x in parameters.items():
        for kind, each in containers(x).items():
            changed = Layer(settings, {**layer.parameters, name: each})
            with pytest.raises(TypeError, match=rf"`{name}` must be .*, got {kind}\. "):
                changed(arguments["query"])


def test_distributed_tensors(host, tmp_path):
    host("torch")
    torch = pytest.importorskip("torch")
    if not torch.distributed.is_available():
        pytest.skip("PyTorch is built without torch.distributed")
    from torch import distributed
    from torch.distributed.tensor import Replicate, distribute_tensor

    store = (tmp_path / "store").as_uri()
    distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        mesh = distributed.init_device_mesh("cpu", (1,))
        x, sde = distribute_tensor(torch.ones(3, 4), mesh, [Replicate()]), model(torch.asarray)
        with pytest.raises(TypeError, match=r"`query` must .*, got DTensor. Pass its `to_local"):
            afa.attention(x, x, x, sde)
        own = x.to_local()
        assert afa.attention(own, own, own, sde).shape == (3, 4)
    finally:
        distributed.destroy_process_group()


def test_arrays_that_are_accepted(host, tmp_path):
    x = np.memmap(tmp_path / "x", dtype="float64", mode="w+", shape=(3, 4))
    assert afa.attention(x, x, x, model(np.asarray)).shape == (3, 4)
    torch = pytest.importorskip("torch")
    from torch._subclasses.fake_tensor import FakeTensorMode

    subclass = type("Subclass", (torch.Tensor,), {})
    for each in (
        torch.nn.Parameter(torch.ones(2, 3, 4)),
        torch.ones(2, 3, 4).as_subclass(subclass),
    ):
        sde = model(torch.asarray)

        def attend(x, sde=sde):
            return afa.attention(x, x, x, sde)

        assert attend(each).shape == (2, 3, 4)
        assert torch.func.vmap(attend)(each).shape == (2, 3, 4)
    with FakeTensorMode():
        x, sde = torch.ones(3, 4), model(lambda x: torch.ones(x.shape))
        assert afa.attention(x, x, x, sde).shape == (3, 4)
