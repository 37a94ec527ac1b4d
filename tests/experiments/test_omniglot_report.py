"""What few-shot tables say of results."""

from __future__ import annotations

import numpy as np
from results_made import RESULT, SETTINGS, lines, made

from experiments.omniglot import compared, levers, published
from experiments.omniglot import report as omniglot


def test_seeds_are_averaged_in_one_row_with_students_interval():
    found = [made(), made(0.99, seed=1)]
    _, _, row = lines(omniglot.accuracies(found))
    assert row[:3] == ["omniglot (paper) 5w1s", "nmn recommended", "fast"]
    assert row[4:] == ["98.50 ± 6.35", "2", "5000", "10", "cpu"]


def test_twelve_seeds_have_students_factor_and_not_the_normal_one():
    values = [0.9 + 0.01 * (seed % 2) for seed in range(12)]
    found = [made(value, seed=seed) for seed, value in enumerate(values)]
    _, _, row = lines(omniglot.accuracies(found))
    # By hand: deviation 0.005 √(12 / 11), over √12, times 2.201.
    assert row[4] == f"90.50 ± {100 * 0.005 / np.sqrt(11) * 2.201:.2f}"


def test_one_seed_given_twice_is_one_seed_and_another_rate_another_row():
    found = [made(), made(), made(0.5, lr=1e-5)]
    _, _, first, second = lines(omniglot.accuracies(found))
    assert (first[4:6], first[3]) == (["98.00 ± 0.20", "1"], "–")
    assert (second[4:6], second[3]) == (["50.00 ± 0.20", "1"], "optim.lr 1e-05")


def test_the_effect_is_paired_by_seed_and_has_an_interval_of_its_own():
    found = [
        made(accuracy, use, seed=seed, study="sg_effect")
        for use, seed, accuracy in (
            ("off", 0, 0.2), ("off", 1, 0.3), ("fast", 0, 0.8), ("fast", 1, 0.7),
        )
    ]  # fmt: skip
    found.append(made(0.25, "off", factor=2.0, seed=0, study="sg_effect"))
    # The pace of the loop is no other budget: they are still of one network.
    config = found[2]["config"]
    found[2]["config"] = {**config, "train": {**config["train"], "steps_per_call": 7}}
    rows = {row[1] + row[2]: row for row in lines(compared.sg_effect(found))[2:]}
    assert rows["fast80.00, 70.00"][4] == "+50.00 ± 127.06"
    assert rows["off20.00, 30.00"][4] == "–"
    assert rows["off25.00"][4] == "+5.00"


def test_the_effect_in_every_setting_is_paired_there():
    def of(use, seed, few, many, label="write"):
        measures = {
            name: {"mean": mean, "half": 0.01, "n": 9, "unit": "fraction"}
            for name, mean in (
                ("accuracy", 0.1), ("accuracy 5w1s", few), ("accuracy 20w5s", many),
            )
        }  # fmt: skip
        result = made(use=use, seed=seed, study="sg_full", measures=measures)
        settings = {**result["settings"], "model": {"label_input": label}}
        task = {**RESULT["task"], "mixture": "5way1shot, 20way5shot"}
        columns = {**result["columns"], "label input": label}
        told = {"settings": settings, "task": task, "columns": columns}
        return {**result, **told, "variant": f"{use}{label}"}

    found = [
        of("off", 0, 0.9, 0.5), of("off", 1, 0.8, 0.5),
        of("fast", 0, 0.91, 0.3), of("fast", 1, 0.81, 0.2),
        of("fast", 0, 0.7, 0.6, "none"), of("off", 0, 0.2, 0.05, "none"),
    ]  # fmt: skip
    header, _, *rows = lines(compared.by_setting(found))
    assert header[3:] == ["seeds", "5w1s", "20w5s"]
    assert [row[1:] for row in rows] == [
        ["fast", "none", "1 seed", "70.00 ± 1.00 (+50.00)", "60.00 ± 1.00 (+55.00)"],
        ["fast", "write", "2 seeds", "86.00 ± 63.53 (+1.00 ± 0.00)",
         "25.00 ± 63.53 (-25.00 ± 63.53)"],
        ["off", "none", "1 seed", "20.00 ± 1.00", "5.00 ± 1.00"],
        ["off", "write", "2 seeds", "85.00 ± 63.53", "50.00 ± 0.00"],
    ]  # fmt: skip
    title = "The effect of synthetic gradients in four settings"
    text = {part.title: part.text for part in omniglot.sections(found)}[title]
    assert compared.by_setting(found) in text


def test_the_title_of_a_picture_is_as_wide_as_it():
    columns = {"method": "nmn", "trained on": ", ".join(["20w1s"] * 30)}
    found = omniglot.title(made(columns=columns)).split("\n")
    assert max(map(len, found)) <= omniglot.WIDEST + 1 and len(found) == 4
    mixed = made(task={**RESULT["task"], "mixture": "5way1shot, 20way1shot"})
    assert omniglot.title(mixed).startswith("5way1shot, 20way1shot, nmn recommended")
    assert (
        " ".join(found[:-1]).endswith("20w1s:") and found[-1] == "test 98.00 ± 0.20 %"
    )


def test_levers_are_judged_by_validation_and_named_by_what_they_change():
    def of(score, **changes):
        config = {"ways": 20, "practice": ["20way1shot"], "optim": {"lr": None}}
        train = {"steps": 1, "queries": 3, "episodes": 8, "validate_every": 1}
        config |= {"train": {**train, **changes.pop("train", {})}, **changes}
        return made(
            study="levers", config=config, extra={"validation_accuracy": score},
            train_images=300_100,
        )  # fmt: skip

    found = [
        of(0.9), of(0.925, optim={"lr": 2e-3}),
        of(0.85, practice=[], train={"steps": 7}),
        of(0.92, train={"steps": 4, "episodes": 2, "validate_every": 2}),
        of(0.91, ways=60, practice=["60way1shot", "20way5shot"]),
    ]  # fmt: skip
    rows = lines(levers.table(found))[2:]
    assert [row[:3] for row in rows] == [
        ["optim.lr 0.002", "92.50", "+2.50"],
        ["train.episodes 2", "92.00", "+2.00"],
        ["ways 60, practice 60way1shot and 20way5shot", "91.00", "+1.00"],
        ["none", "90.00", "–"],
        ["practice as tested", "85.00", "-5.00"],
    ]
    sections = {part.title: part.text for part in omniglot.sections(found)}
    assert "300,000 images" in sections["Levers to accuracy"]
    assert omniglot.summary(found) == "" and "Few-shot classification" not in sections


def test_half_precision_is_paired_with_single_in_each_setting():
    def of(kind, seed, accuracy, ways=5):
        settings = {**SETTINGS, "model": {**SETTINGS["model"], "precision": kind}}
        return made(
            accuracy, seed=seed, study="precision", settings=settings,
            task={**RESULT["task"], "ways": ways}, variant=f"{kind}{ways}",
        )  # fmt: skip

    found = [
        of("bfloat16", 0, 0.7), of("float32", 0, 0.8), of("float32", 1, 0.6),
        of("bfloat16", 1, 0.74), of("bfloat16", 0, 0.3, 20), of("float32", 0, 0.5, 20),
    ]  # fmt: skip
    rows = lines(compared.precision(found))[2:]
    assert [row[:3] + row[4:] for row in rows] == [
        ["omniglot (paper) 20w1s", "bfloat16", "30.00", "-20.00"],
        ["omniglot (paper) 20w1s", "float32", "50.00", "–"],
        ["omniglot (paper) 5w1s", "bfloat16", "70.00, 74.00", "+2.00 ± 152.47"],
        ["omniglot (paper) 5w1s", "float32", "80.00, 60.00", "–"],
    ]
    sections = {part.title: part.text for part in omniglot.sections(found)}
    assert "bfloat16" in sections["The encoder in half precision"]
    assert omniglot.summary(found) == "" and "Few-shot classification" not in sections


def test_the_readme_has_one_small_table_beside_what_was_published():
    other = {**RESULT["task"], "ways": 20}
    found = [
        made(0.5, variant="short", train_steps=10),
        made(),
        made(0.9, task=other, variant="b"),
        made(0.1, study="sg_effect"),
        made(0.1, task={**other, "data": "glyphs"}),
    ]
    told = lines(omniglot.summary(found))
    assert told[0] == ["accuracy %", "5w1s", "5w5s", "20w1s", "20w5s"]
    assert told[2] == [
        "nmn recommended, synthetic gradients fast",
        "98.00 ± 0.20 (1 seed)", "–", "90.00 ± 0.20 (1 seed)", "–",
    ]  # fmt: skip
    assert told[3][0].startswith("*NMN with synthetic gradients")
    assert not any(row[0].startswith("*MANN") for row in told)
    for study in ("sg_effect", "rivals", "recast"):
        assert omniglot.summary([made(study=study)]) == ""


def test_published_rows_say_how_their_protocol_differs():
    told = omniglot.published()
    rows = {row[0]: row[1:] for row in lines(told.split("\n\n")[0])}
    assert rows["MAML (t, s)"] == ["98.7", "99.9", "95.8", "98.9"]
    assert rows["MetaNet"] == ["98.95", "–", "97.0", "–"]
    assert rows["MANN (p)"] == ["82.8", "94.9", "–", "–"]
    for line in published.PUBLISHED.values():
        assert len(line.values) == len(omniglot.SETTINGS)
        assert set(line.notes) <= set(published.NOTES)
    assert "(t) transductive" in told
