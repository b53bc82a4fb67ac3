"""The page at / in a real browser without a screen."""

import os
from pathlib import Path


def test_both_sides_are_denoised_and_end_with_the_servers_text(tiny, browse):
    pictures = Path(os.environ["LOHOVLA_PICTURES"]) if "LOHOVLA_PICTURES" in os.environ else None
    page = browse(tiny.url)
    page.until("document.getElementById('mode').options.length == 5")
    assert page.value("getComputedStyle(document.getElementById('keyed')).display") == "none"
    page.value("document.getElementById('prompt').value = 'The arm lifts the block.'")
    page.value("document.getElementById('tokens').value = 40; document.getElementById('pace').value = 60; 1")
    page.value("document.getElementById('go').click()")
    page.until(
        "document.querySelectorAll('#text0 .mask').length > 3 && document.querySelectorAll('#text1 .new').length"
    )
    assert page.value("document.querySelectorAll('#text0 .even, #text0 .odd, #text0 .new').length") > 0
    if pictures:
        page.until("document.querySelectorAll('#text0 .odd').length > 2")
        page.picture(pictures / "page-during.png")
    page.until("document.body.dataset.state == 'done'")
    if pictures:
        page.picture(pictures / "page-after.png")
    for number, mode in enumerate(("d2f", "ar")):
        from lohovla.d2f.sampling import Sampling

        answer = tiny.service.text.generate("The arm lifts the block.", mode, Sampling(max_tokens=40, seed=1))[0].answer
        shown = page.value(f"document.getElementById('text{number}').textContent")
        assert shown == "".join(tiny.service.decode([token]) for token in answer.tokens)
        count = page.value(f"document.getElementById('count{number}').textContent")
        assert count.startswith(f"40 tokens, {answer.forwards} calls,")
    assert page.complaints == []
    assert page.value("performance.getEntriesByType('resource').every(r => r.name.startsWith(location.origin))")


def test_a_refusal_is_shown_and_a_key_is_asked_for(serve, browse):
    key = "a-key-of-thirty-two-characters-00"
    running = serve(keys=(key,))
    page = browse(running.url, width=420, height=900)
    page.until("!document.getElementById('keyed').hidden")
    page.value(f"document.getElementById('key').value = '{key}'")
    page.value("document.getElementById('prompt').value = 'say <|mask|>'; document.getElementById('go').click()")
    page.until("document.getElementById('text0').textContent.includes('holds the mask token')")
    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
