"""Signing in through nginx, as people configure it, in a real browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.door import Door
from tests.browser.proxy import nginx
from tests.browser.watch import sign_in

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize(
    "headers",
    [
        "",
        "proxy_set_header Host $host;",
        "proxy_set_header Host $http_host;",
        "proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;",
        'proxy_set_header Forwarded "for=$remote_addr;host=\\"$http_host\\";proto=$scheme";',
    ],
)
def test_a_person_signs_in_and_out_through_a_proxy(service: Door, tmp_path: Path, page: Page, headers: str) -> None:
    with nginx(tmp_path, f"location / {{ proxy_pass {service.line.url}; {headers} }}") as url:
        sign_in(page, url, service.key)
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{url}/sign-in")


def test_the_readmes_way_through_nginx_leads_there(service: Door, tmp_path: Path, page: Page) -> None:
    block = README[README.index("    location / {") :]
    block = block[: block.index("    }\n") + 5].replace("http://127.0.0.1:8000", service.line.url)
    assert service.line.url in block
    with nginx(tmp_path, block) as url:
        sign_in(page, url, service.key)
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
