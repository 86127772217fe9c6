"""The page in a browser, mostly by its keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tagformer import LabelSpace, Tagger, create_model
from tagformer.answers import AnswerStore
from tagformer.images import Preprocessing
from tagformer.serve import ServeSettings, create_app
from tagformer.serve.engine import Engine
from tagformer.serve.workspace.loop import Loop
from tagformer.serve.workspace.pictures import Pictures, of_sources
from tagformer.serve.workspace.workspace import Workspace
from tests.serve.conftest import LABELS, new_tagger
from tests.serve.live import live
from tests.serve.pictures import encoded, scenes

COUNT = 40
VIEWS = ("image", "grid", "mistakes", "labels", "train")
OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    names = [folder / f"{number:02d}.png" for number in range(COUNT)]
    for name, picture in zip(names, scenes(COUNT), strict=True):
        name.write_bytes(encoded(picture))
    return names


@pytest.fixture
def open_page(browser: Browser, files: list[Path], tmp_path: Path) -> Iterator[OpenPage]:
    """Open the page of a new server in a new window, with the answers of the one before; it must not complain."""
    trouble: list[str] = []
    with ExitStack() as stack:

        def start(tagger: Tagger | None = None, width: int = 1280, theme: str = "light") -> Page:
            def page(engine: Engine) -> Loop:
                pictures = Pictures(of_sources(files, [file.name for file in files]), tmp_path / "added")
                workspace = Workspace(engine, pictures, AnswerStore(tmp_path / "answers.sqlite"), "photos")
                return Loop(workspace, tmp_path / "run", tmp_path / "training")

            address = stack.enter_context(
                live(create_app(ServeSettings(name="small"), tagger or new_tagger(), page=page))
            )
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)  # type: ignore[arg-type]
            stack.callback(context.close)
            window = context.new_page()
            window.on("pageerror", lambda error: trouble.append(f"{error}\n{error.stack}"))
            window.on("console", lambda line: trouble.append(line.text) if line.type in ("error", "warning") else None)
            window.on("request", lambda sent: trouble.append(sent.url) if not sent.url.startswith(address) else None)
            window.goto(address)
            expect(window.locator("body")).to_have_attribute("data-ready", "true", timeout=30_000)
            return window

        yield start
    assert not [line for line in trouble if not line.startswith(("data:", "blob:"))]


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def numbers(page: Page) -> dict[str, str]:
    """What each label shows: its probability, or its answer."""
    columns = page.locator("#labels .label").evaluate_all("rows => rows.map(row => row.dataset.label)")
    names = [LABELS.names[int(column)] for column in columns]
    return dict(zip(names, page.locator("#labels .bar").all_inner_texts(), strict=True))


def test_an_answer_moves_the_others_and_is_taken_back(open_page: OpenPage, files: list[Path]) -> None:
    page, tagger = open_page(), new_tagger()
    asked = page.locator("#asked").inner_text()
    assert asked == tagger.suggest(files[0], count=1)[0].name
    before = numbers(page)
    press(page, "y")
    expect(page.locator("#labels .is-yes .name")).to_have_text(asked)
    after = numbers(page)
    expected = tagger.predict(files[0], {asked: True})[0]
    wanted = {tag.name: f"{round(100 * tag.probability)} %" for tag in expected.ranked if not tag.known}
    assert {name: after[name] for name in wanted} == wanted
    assert {name: before[name] for name in wanted} != wanted, "something moved"
    expect(page.locator("#asked")).not_to_have_text(asked)
    press(page, "n")
    expect(page.locator("#labels .is-no")).to_have_count(1)
    press(page, "Control+z", "Control+z")
    expect(page.locator("#labels .is-yes, #labels .is-no")).to_have_count(0)
    assert numbers(page) == before
    press(page, "Control+Shift+z")
    expect(page.locator("#labels .is-yes .name")).to_have_text(asked)
    page.reload()
    expect(page.locator("#labels .is-yes .name")).to_have_text(asked)


def test_where_a_label_is_seen(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator("#picture img")).to_be_visible()
    press(page, "h")
    canvas = page.locator("#picture canvas")
    expect(canvas).to_be_visible()
    painted = canvas.evaluate("c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0)")
    assert painted
    picture, heat = page.locator("#picture img").bounding_box(), canvas.bounding_box()
    assert picture is not None
    assert heat == pytest.approx(picture, abs=1), "the map lies on the picture"
    press(page, "h")
    expect(canvas).to_be_hidden()


def test_done_and_next(open_page: OpenPage) -> None:
    page = open_page()
    for number in range(3):
        expect(page.locator("#image-name")).to_have_text(f"{number:02d}.png")
        press(page, "Enter")
    expect(page.locator("#image-name")).to_have_text("03.png")
    expect(page.locator("#progress-text")).to_have_text(f"3 of {COUNT} done")
    press(page, "ArrowLeft")
    expect(page.locator("#image-name")).to_have_text("02.png")
    expect(page.locator("#done")).to_contain_text("Open again")
    again = open_page()
    expect(again.locator("#progress-text")).to_have_text(f"3 of {COUNT} done")
    expect(again.locator("#image-name")).to_have_text("08.png")  # the first window has 03.png and the next four


def test_type_ahead_over_five_thousand_labels(open_page: OpenPage, files: list[Path]) -> None:
    names = LabelSpace((*(f"thing {number:04d}" for number in range(4999)), "zebra crossing"))
    torch.manual_seed(0)
    model = create_model("evidence", names, "tiny", layers=0, width=8)
    torch.nn.init.normal_(model.get_parameter("classifier_weight"))
    tagger = Tagger(model, Preprocessing(size=32), torch.full((5000,), 0.5), "cpu")
    page = open_page(tagger)
    press(page, "/")
    page.keyboard.type("cros")
    expect(page.locator("#matches [role=option]")).to_have_count(1)
    press(page, "Enter")
    expect(page.locator("#labels .is-yes .name")).to_have_text("zebra crossing")
    page.keyboard.type("thing 49")
    expect(page.locator("#matches [role=option]")).to_have_count(50)
    expect(page.locator("#matches li").last).to_have_text("and 49 more: type on")  # 4900 to 4998
    probabilities = tagger.predict(files[0], {"zebra crossing": True})[0].probabilities
    best = max(range(4900, 4999), key=lambda label: float(probabilities[label]))
    expect(page.locator("#matches [role=option]").first).to_contain_text(f"thing {best}")
    press(page, "Escape")
    press(page, "Enter")  # the next image: what was said yes to comes first there
    expect(page.locator("#image-name")).to_have_text("01.png")
    press(page, "/")
    page.keyboard.type("z")
    expect(page.locator("#matches [role=option]").first).to_contain_text("zebra crossing")


def test_thirty_images_with_the_keyboard_alone(open_page: OpenPage) -> None:
    page = open_page()
    press(page, "2", "/")
    page.keyboard.type("dog")
    press(page, "Enter")
    expect(page.locator("#grid-label-name")).to_have_text("dog")
    page.locator("#tiles").focus()
    columns = int(
        page.evaluate(
            "Math.round((document.querySelector('#tiles').clientWidth - 8) / "
            "(document.querySelector('.tile').clientWidth + 8))"
        )
    )
    press(page, *["Shift+ArrowDown"] * (30 // columns - 1), *["Shift+ArrowRight"] * (columns - 1))
    expect(page.locator("#selected-count")).to_have_text(f"{30 // columns * columns} of {COUNT} selected")
    press(page, *["Shift+ArrowRight"] * (30 - 30 // columns * columns))
    expect(page.locator("#selected-count")).to_have_text(f"30 of {COUNT} selected")
    press(page, "y")
    expect(page.locator("#toast")).to_contain_text("dog: yes for 30 images.")
    page.select_option("#filter-state", "yes")
    expect(page.locator("#selected-count")).to_contain_text("30")
    page.reload()
    press(page, "2")
    page.locator("#grid-find").fill("dog")
    press(page, "Enter")
    page.select_option("#filter-state", "yes")
    expect(page.locator(".tile[data-state=yes]").first).to_be_visible()
    expect(page.locator("#selected-count")).to_have_text("30 images")
    press(page, "Control+z")
    page.select_option("#filter-state", "any")
    expect(page.locator(".tile[data-state=yes]")).to_have_count(0)


def test_a_lasso_and_images_like_one(open_page: OpenPage) -> None:
    page = open_page()
    press(page, "2")
    first, sixth = page.locator("#tile-0").bounding_box(), page.locator("#tile-9").bounding_box()
    assert first is not None
    assert sixth is not None
    page.mouse.move(first["x"] + 30, first["y"] + 30)
    page.mouse.down()
    page.mouse.move(sixth["x"] + 30, sixth["y"] + 30, steps=4)
    page.mouse.up()
    expect(page.locator("#selected-count")).to_have_text(f"4 of {COUNT} selected")  # two rows of eight: 0, 1, 8, 9
    assert page.locator(".tile.selected").evaluate_all("tiles => tiles.map(tile => tile.id)") == [
        "tile-0",
        "tile-1",
        "tile-8",
        "tile-9",
    ]
    page.locator("#tile-9").click()
    press(page, "l")
    expect(page.locator("#toast")).to_contain_text("30 images like this one come first and are selected.")
    expect(page.locator("#selected-count")).to_have_text(f"31 of {COUNT} selected")
    expect(page.locator("#tile-0 img")).to_have_attribute("src", "/page/thumbnails/9")


def test_a_mistake_is_corrected_with_one_key(open_page: OpenPage, files: list[Path]) -> None:
    probability = float(new_tagger().predict(files[0])[0].probabilities[1])
    right, wrong = ("y", "n") if probability >= 0.5 else ("n", "y")
    page = open_page()
    expect(page.locator("#scoring")).to_be_hidden(timeout=30_000)
    page.locator("#labels .label", has_text="dog").click()
    press(page, wrong, "3")
    expect(page.locator(".mistake")).to_have_count(1)
    expect(page.locator(".mistake .claim")).to_contain_text(f"the model says {round(100 * probability)} %")
    press(page, "f")
    expect(page.locator(".mistake")).to_have_count(0)
    press(page, "1")
    expect(page.locator("#labels .is-yes" if right == "y" else "#labels .is-no")).to_have_count(1)


def test_keys_can_be_changed(open_page: OpenPage) -> None:
    page = open_page()
    press(page, "?")
    page.locator('[data-name="yes"]').click()
    press(page, "j")
    expect(page.locator('[data-name="yes"]')).to_have_text("J")
    press(page, "Escape", "y")
    expect(page.locator("#keys-dialog")).to_be_hidden()
    expect(page.locator("#labels .is-yes")).to_have_count(0)
    press(page, "j")
    expect(page.locator("#labels .is-yes")).to_have_count(1)
    page.reload()
    expect(page.locator("#labels .is-yes")).to_have_count(1)
    press(page, "j")
    expect(page.locator("#labels .is-yes")).to_have_count(2)


def test_a_dropped_picture_joins_the_queue(open_page: OpenPage, files: list[Path], tmp_path: Path) -> None:
    page = open_page()
    added = tmp_path / "mine.png"
    added.write_bytes(encoded(scenes(COUNT + 1)[-1]))
    page.locator("#pick").set_input_files(added)
    expect(page.locator("#image-name")).to_have_text(re.compile("added [0-9a-f]{8}"))
    expect(page.locator("#progress-text")).to_have_text(f"0 of {COUNT + 1} done")


def test_a_narrow_window_hides_nothing(open_page: OpenPage) -> None:
    page = open_page(width=400)
    for view in VIEWS:
        press(page, str(VIEWS.index(view) + 1))
        expect(page.locator(f"#view-{view}")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, view
    press(page, "1")
    picture, under = page.locator("#picture img").bounding_box(), page.locator(".under").bounding_box()
    assert picture is not None
    assert under is not None
    assert picture["y"] + picture["height"] <= under["y"]
    assert page.locator("#labels .label").first.is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_violation(open_page: OpenPage, theme: str) -> None:
    page = open_page(theme=theme)
    press(page, "y")
    expect(page.locator("#labels .is-yes")).to_have_count(1)
    found = []
    for view in VIEWS:
        press(page, str(VIEWS.index(view) + 1))
        expect(page.locator(f"#view-{view}")).to_be_visible()
        page.wait_for_timeout(300)
        found += [(view, *_of(one)) for one in Axe().run(page).response["violations"]]
    press(page, "?")
    found += [("keys", *_of(one)) for one in Axe().run(page).response["violations"]]
    assert not [one for one in found if one[1] in ("serious", "critical")]


def _of(violation: dict[str, object]) -> tuple[object, object, object]:
    nodes = violation["nodes"]
    assert isinstance(nodes, list)
    return violation["impact"], violation["id"], [node["html"][:120] for node in nodes[:3]]
