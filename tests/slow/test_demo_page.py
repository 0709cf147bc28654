"""The page in a real browser: pictures shown in every way, questions, errors, two people at once, a phone, the keys."""

import base64
import contextlib
import io
import json
import shlex

import browser
import pytest
from PIL import Image

from export.demo import examples

if browser.missing():
    pytest.skip(browser.missing(), allow_module_level=True)

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.process
HELD, TURNED = "red metal sphere left of gray rubber sphere", "gray rubber sphere left of red metal sphere"
SHOW = """
const [kind, content, done] = arguments;
const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "shown.jpg", {type: "image/jpeg"}));
const event = kind === "paste" ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
    : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
document.body.dispatchEvent(event);
"""


@pytest.fixture(scope="module")
def address():
    """Of the page of the model at hand."""
    with browser.demo() as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The examples as files, and one that is no picture."""
    folder = tmp_path_factory.mktemp("files")
    for number in (0, 1):
        (folder / f"my picture {number}.jpg").write_bytes(examples.picture(number))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


class Visitor(browser.Visitor):
    """Someone at the page."""

    def show(self, path):
        before = self.driver.execute_script("return document.querySelector('#answer-view img').src")
        self.find("#file")[0].send_keys(str(path))
        changed = "return document.querySelector('#answer-view img').src !== arguments[0] || " + (
            "!document.getElementById('error').hidden"
        )
        WebDriverWait(self.driver, 60).until(lambda driver: driver.execute_script(changed, before))

    def ask(self, text):
        field = self.find("#text")[0]
        field.clear()
        field.send_keys(text, Keys.ENTER)
        return self.wait(".verdict", text)

    def downloaded(self, selector, folder):
        """The content of the file that a link is saved as."""
        behavior = {"behavior": "allow", "downloadPath": str(folder)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
        (link,) = self.find(selector)
        path = folder / link.get_attribute("download")
        link.click()
        WebDriverWait(self.driver, 60).until(lambda _: path.exists())
        return path.read_bytes()


@contextlib.contextmanager
def visiting(address, **window):
    """A visitor whose page asked nobody but its server, and had no error in its scripts."""
    with browser.opened(**window) as driver:
        visitor = Visitor(driver, address)
        yield visitor
        asked = browser.requests(driver)
        assert {f"{request.scheme}://{request.netloc}/" for request in asked} == {address} and len(asked) > 5
        told = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert all("the server responded with a status of 4" in message for message in told), told


def test_a_picture_is_shown_and_asked_about(address, files, tmp_path):
    with visiting(address) as visitor:
        visitor.show(files / "my picture 1.jpg")
        verdict = visitor.ask(HELD)
        assert verdict.text == f"{HELD}: found (1.00)" and not visitor.find(".verdict.not")
        answer = json.loads(visitor.downloaded("#answer-json", tmp_path))
        assert answer["query"] == HELD and answer["answer_probability"] > 0.9
        lines = [element.get_attribute("x") for element in visitor.find("#answer-view .line")]
        drawn = answer["subject_boxes"] + answer["object_boxes"]
        assert [float(x) for x in lines] == [box[1] for box in drawn] and len(drawn) == 2
        assert [tag.text for tag in visitor.find("#answer-view text")] == [
            f"{answer[f'{role}_scores'][0]:.2f}" for role in ("subject", "object")
        ]
        assert len(json.loads(visitor.downloaded("#graph-json", tmp_path))["entities"]) == 10
        for link in ("#answer-png", "#graph-png"):
            with Image.open(io.BytesIO(visitor.downloaded(link, tmp_path))) as drawn_there:
                assert drawn_there.format == "PNG" and min(drawn_there.size) > 300
        said = shlex.split(visitor.find("#command")[0].text)
        assert said == ["dsg-ask", "--model=clevr", "my picture 1.jpg", HELD, "--threshold=0.5", "--output=answer.png"]
        code = visitor.find("#python")[0].text
        compile(code, "page", "exec")
        assert f'answer = model.ask("my picture 1.jpg", "{HELD}", threshold=0.5)' in code and code.count("\n") == 4
        pressed = visitor.find("[data-copies=command]")[0]
        pressed.click()
        visitor.wait("[data-copies=command]", "Copied")


def test_what_is_not_there_and_the_threshold(address, files):
    with visiting(address) as visitor:
        visitor.show(files / "my picture 1.jpg")
        assert visitor.ask(TURNED).text == f"{TURNED}: not found (0.00)"
        assert len(visitor.find("#answer-view .dashed")) == 2
        assert visitor.find("#answer-view text")[0].text == "not found (0.00)"
        slider = visitor.find("#threshold")[0]
        slider.send_keys(Keys.HOME)
        assert visitor.wait(".verdict", ": found").text == f"{TURNED}: found (0.00)"
        assert not visitor.find("#answer-view .dashed") and visitor.find("#threshold-value")[0].text == "0.00"
        assert "--threshold=0 " in visitor.find("#command")[0].text
        for text in [chip.text for chip in visitor.find("#questions button")]:
            next(chip for chip in visitor.find("#questions button") if chip.text == text).click()
            visitor.wait(".verdict", text)
        assert "something: any" in visitor.ask("something right of gray metal cube").find_element(By.XPATH, "..").text


def test_errors_are_sentences_and_the_page_goes_on(address, files):
    with visiting(address) as visitor:
        visitor.show(files / "broken.png")
        alert = visitor.wait("[role=alert]")
        assert alert.text == "This is no picture that can be read: a JPEG, PNG or WebP file is needed."
        assert not visitor.find("#ask")[0].is_displayed()
        visitor.show(files / "my picture 0.jpg")
        field = visitor.wait("#text")
        assert not alert.is_displayed()
        field.send_keys("zebra left of a cube", Keys.ENTER)
        assert visitor.wait("[role=alert]", "zebra").text.startswith("Unknown subject 'zebra'")
        assert not visitor.find(".verdict")
        visitor.ask("cube left of cube")
        assert not visitor.find("#error")[0].is_displayed()


@pytest.mark.parametrize("kind", ["paste", "drop", "example"])
def test_a_picture_comes_in_other_ways(kind, address):
    with visiting(address) as visitor:
        if kind == "example":
            visitor.find("#examples button")[1].click()
        else:
            visitor.driver.execute_script(SHOW, kind, base64.b64encode(examples.picture(1)).decode())
        visitor.wait("#questions button", HELD).click()
        visitor.wait(".verdict", "found (1.00)")
        name = "example-2.jpg" if kind == "example" else "shown.jpg"
        assert shlex.split(visitor.find("#command")[0].text)[2] == name


def test_two_at_once_have_answers_about_their_own_pictures(address, files):
    with visiting(address) as one, visiting(address) as other:
        one.show(files / "my picture 0.jpg")
        other.show(files / "my picture 1.jpg")
        for visitor, text in ((one, "brown metal sphere right of cube"), (other, HELD)):
            visitor.find("#text")[0].send_keys(text, Keys.ENTER)
        one.wait(".verdict", "brown metal sphere right of cube: found")
        other.wait(".verdict", f"{HELD}: found")
        assert len(one.find(".node")) == 4 and len(other.find(".node")) == 10
        other.ask("brown metal sphere right of cube")
        assert other.find(".verdict.not") and not one.find(".verdict.not")


def test_nodes_show_their_boxes_to_the_mouse_and_to_the_keys(address, files):
    with visiting(address) as visitor:
        visitor.show(files / "my picture 0.jpg")
        visitor.wait(".node")
        labels = lambda: [tag.text for tag in visitor.find("#graph-view text")]
        assert sorted(labels()) == ["1", "2", "3", "4"]
        nodes = visitor.find(".node")
        ActionChains(visitor.driver).move_to_element(nodes[1].find_element(By.CSS_SELECTOR, "circle")).perform()
        (pointed,) = labels()
        assert pointed.startswith("2 ") and len(visitor.find("#graph-view .faint")) == 3
        assert len(visitor.find("#nodes line")) == 3  # To each of the others.
        visitor.driver.execute_script("document.querySelectorAll('.node')[2].focus()")
        assert labels()[0].startswith("3 ")
        visitor.driver.switch_to.active_element.send_keys(Keys.TAB)
        assert labels()[0].startswith("4 ")
        assert nodes[3].get_attribute("aria-label").startswith("4 ")
        assert len(visitor.driver.execute_script("return [...document.querySelectorAll('#relations li')]")) == 12


def test_on_a_phone_nothing_is_wider_than_the_screen(address, files):
    with visiting(address, width=360, height=700) as visitor:
        visitor.show(files / "my picture 1.jpg")
        visitor.ask(HELD)
        wide = visitor.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 360
        unnamed = visitor.driver.execute_script(
            "return [...document.querySelectorAll('button, a, input, img')].filter((some) => !(some.textContent.trim() "
            "|| some.alt || (some.labels && some.labels.length) || some.querySelector('img[alt]') || "
            "!some.checkVisibility())).map((some) => some.outerHTML)"
        )
        assert unnamed == []
