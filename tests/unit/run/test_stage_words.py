from ptspec.recipe.plan import AdapterSpec
from ptspec.run.stage_words import describe_adapter


def test_setups_are_reported_by_the_bits_of_their_base():
    lora = {"r": 4}
    eight = {"load_in_8bit": True}
    told = [AdapterSpec(False), AdapterSpec(True, False, lora), AdapterSpec(True, True, lora)]
    assert [*map(describe_adapter, told)] == ["full fine-tuning", "LoRA r4", "QLoRA r4"]
    assert describe_adapter(AdapterSpec(True, True, lora, eight)) == "LoRA r4 over 8-bit weights"
