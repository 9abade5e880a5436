"""Sums of adapters and means of full weights, on random tiny models, against weights computed by hand."""

import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from ptspec.diagnostics import InputError
from ptspec.model import low_rank
from ptspec.model.merging import INDEX, adapters_by_peft, save_mean, sum_of_adapters

IDS = torch.tensor([[3, 14, 15, 9, 2, 6]])


def model(seed=0, tied=False, **kwargs):
    torch.manual_seed(seed)
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=tied, **kwargs)).eval()


def adapter(folder, seed, **lora):
    """A random adapter over `model()`, saved in `folder`."""
    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **lora)
    get_peft_model(model(), config).save_pretrained(folder)
    return folder


@pytest.fixture
def two(tmp_path):
    a = adapter(tmp_path / "a", 1, r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"])
    b = adapter(
        tmp_path / "b",
        2,
        r=2,
        lora_alpha=3,
        use_rslora=True,
        target_modules=r".*\.(q_proj|v_proj)",
        rank_pattern={"v_proj": 3},
    )
    return a, b


def merged_by_hand(parts):
    """The weights of the base and of each adapter folded in by PEFT alone, added up."""
    base = {name: value.double() for name, value in model().state_dict().items()}
    total = dict(base)
    for folder, weight in parts:
        folded = PeftModel.from_pretrained(model(), folder).merge_and_unload().state_dict()
        total = {name: value + weight * (folded[name].double() - base[name]) for name, value in total.items()}
    found = model()
    found.load_state_dict({name: value.float() for name, value in total.items()})
    return found


def logits(of):
    with torch.no_grad():
        return of.eval()(input_ids=IDS).logits


def saved_and_opened(parts, folder):
    total = sum_of_adapters(parts)
    bare = model()
    config = low_rank.config_for(total, bare, 1.0, LoraConfig(task_type="CAUSAL_LM"))
    summed = get_peft_model(bare, config)
    low_rank.put(total, summed)
    summed.save_pretrained(folder)
    return PeftModel.from_pretrained(model(), folder)


@pytest.mark.parametrize("weights", [(0.9, 0.1), (1.0, -0.5), (2.0, 1.0)])
def test_other_ranks_scalings_and_modules_add_up_to_one_adapter(two, weights, tmp_path):
    parts = list(zip(two, weights, strict=True))
    ours, peft = saved_and_opened(parts, tmp_path / "sum"), adapters_by_peft(model(), parts)
    by_hand = logits(merged_by_hand(parts))
    torch.testing.assert_close(logits(ours), by_hand, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(peft), by_hand, rtol=1e-4, atol=1e-5)
    assert (by_hand - logits(model())).abs().max() > 0.02, "1,000 times what rounding explains"
    assert ours.peft_config["default"].r == 4 + 3


def test_one_adapter_over_its_base_is_scaled_below_zero_too(two):
    for weight in (0.5, -0.5):
        parts = [(two[0], weight)]
        peft, by_hand = logits(adapters_by_peft(model(), parts)), logits(merged_by_hand(parts))
        torch.testing.assert_close(peft, by_hand, rtol=1e-4, atol=1e-5)


def test_the_sum_of_the_factors_is_another_policy(tmp_path):
    lora = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"]}
    parts = [(adapter(tmp_path / name, seed, **lora), 0.5) for seed, name in enumerate("ab", 1)]
    factors = adapters_by_peft(model(), parts)
    factors.add_weighted_adapter(["part0", "part1"], [0.5, 0.5], "linear", combination_type="linear")
    factors.set_adapter("linear")
    apart = (logits(factors) - logits(merged_by_hand(parts))).abs().max()
    assert apart > 0.02, "else the decision would not matter"


def test_an_adapter_that_is_more_than_a_sum_is_refused_by_name(tmp_path, two):
    dora = adapter(tmp_path / "dora", 3, r=2, use_dora=True, target_modules=["q_proj"])
    with pytest.raises(InputError) as raised:
        sum_of_adapters([(two[0], 0.5), (dora, 0.5)])
    (told,) = raised.value.diagnostics
    assert told.code == "cannot-merge" and str(dora) in told.message


def saved(folder: Path, seed, **kwargs):
    made = model(seed, **kwargs)
    made.save_pretrained(folder)
    return folder, made


def test_full_weights_are_summed_in_float32_and_rounded_once_shard_by_shard(tmp_path):
    a, first = saved(tmp_path / "a", 1)
    first.to(torch.bfloat16).save_pretrained(a, max_shard_size="8KB")
    b, second = saved(tmp_path / "b", 2)
    assert (a / INDEX).is_file() and not (b / INDEX).is_file()
    out = tmp_path / "mean"
    out.mkdir()
    save_mean([(a, 1.5), (b, -0.5)], out)
    shutil.copyfile(a / "config.json", out / "config.json")
    mean, ours, theirs = load_file(out / "model.safetensors"), first.state_dict(), second.state_dict()
    assert mean.keys() == ours.keys()
    for name, tensor in mean.items():
        exact = 1.5 * ours[name].float() - 0.5 * theirs[name]
        assert tensor.dtype is torch.bfloat16 and torch.equal(tensor, exact.to(torch.bfloat16)), name
    AutoModelForCausalLM.from_pretrained(out)


def test_tied_embeddings_may_stand_in_one_file_twice(tmp_path):
    a, first = saved(tmp_path / "a", 1, tied=True)
    b, second = saved(tmp_path / "b", 2, tied=True)
    tensors = load_file(b / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, b / "model.safetensors", {"format": "pt"})
    (tmp_path / "mean").mkdir()
    save_mean([(b, 0.5), (a, 0.5)], tmp_path / "mean")
    mean = load_file(tmp_path / "mean/model.safetensors")
    assert "lm_head.weight" not in mean
    half = (first.model.embed_tokens.weight + second.model.embed_tokens.weight) / 2
    torch.testing.assert_close(mean["model.embed_tokens.weight"], half.detach())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "not both have model.norm.weight"),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(8)}), "[16] in one and [8]"),
    ],
)
def test_weights_of_another_shape_are_told_by_tensor(tmp_path, change, said):
    (a, _), (b, _) = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    tensors = load_file(b / "model.safetensors")
    change(tensors)
    save_file(tensors, b / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError) as raised:
        save_mean([(a, 0.5), (b, 0.5)], tmp_path)
    (told,) = raised.value.diagnostics
    assert told.code == "merge-mixed" and said in told.message


@pytest.mark.parametrize("bytes_left", [b"", b"no header here at all", None])
def test_weights_that_cannot_be_read_are_told_with_their_file(tmp_path, bytes_left):
    (a, _), (b, _) = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    file = b / "model.safetensors"
    if bytes_left is None:
        file.unlink()
    else:
        file.write_bytes(bytes_left)
    with pytest.raises(InputError) as raised:
        save_mean([(a, 0.5), (b, 0.5)], tmp_path)
    (told,) = raised.value.diagnostics
    assert told.code == "cannot-load-model" and told.location.file == str(file)
    assert told.message.startswith(f"the weights in {file} cannot be read: ")


def test_pickled_weights_are_not_summed(tmp_path):
    (a, _), (b, made) = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    (b / "model.safetensors").unlink()
    torch.save(made.state_dict(), b / "pytorch_model.bin")
    with pytest.raises(InputError) as raised:
        save_mean([(a, 0.5), (b, 0.5)], tmp_path)
    assert raised.value.diagnostics[0].code == "pickled-weights"


@pytest.mark.parametrize("same", [True, False])
def test_whole_numbers_are_kept_where_they_are_the_same(tmp_path, same):
    (a, _), (b, _) = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    for folder, value in ((a, 7), (b, 7 if same else 8)):
        tensors = load_file(folder / "model.safetensors") | {"positions": torch.tensor([1, value])}
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (tmp_path / "mean").mkdir()
    if same:
        save_mean([(a, 0.5), (b, 0.5)], tmp_path / "mean")
        assert load_file(tmp_path / "mean" / "model.safetensors")["positions"].tolist() == [1, 7]
        return
    with pytest.raises(InputError) as raised:
        save_mean([(a, 0.5), (b, 0.5)], tmp_path / "mean")
    (told,) = raised.value.diagnostics
    assert told.message == "the weights of a and b do not add up: positions holds whole numbers that differ"
    assert (told.location.file, told.hint) == (str(b), "merge models of one shape")


def test_an_output_layer_is_missing_in_tied_models_alone(tmp_path):
    (a, _), (b, _) = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    tensors = load_file(b / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, b / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"of a and b do not add up: not both have lm_head\.weight"):
        save_mean([(a, 0.5), (b, 0.5)], tmp_path)


def test_the_part_of_another_shape_is_named_among_three(tmp_path):
    (a, _), (b, _), (c, _) = (saved(tmp_path / name, seed) for seed, name in enumerate("abc", 1))
    tensors = load_file(c / "model.safetensors") | {"model.norm.weight": torch.ones(8)}
    save_file(tensors, c / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="the weights of a and c do not add up"):
        save_mean([(a, 0.4), (b, 0.3), (c, 0.3)], tmp_path)


@pytest.mark.parametrize("damage", ["weights", "no weights", "config", "no config"])
def test_an_adapter_that_cannot_be_read_is_told_with_its_folder(two, damage):
    folder = two[1]
    name = "adapter_config.json" if "config" in damage else "adapter_model.safetensors"
    if damage.startswith("no"):
        (folder / name).unlink()
    else:
        (folder / name).write_text("{")
    with pytest.raises(InputError) as raised:
        sum_of_adapters([(two[0], 0.5), (folder, 0.5)])
    (told,) = raised.value.diagnostics
    assert told.code == "cannot-load-adapter" and told.location.file == str(folder)
