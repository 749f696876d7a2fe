"""Write the hash of each shipped asset into its card, after an asset was made again.

    python recipes/stamp_cards.py

A test holds every asset against its card, so an asset never changes unseen.
"""

from __future__ import annotations

import re

from crystal_diffusion.pretrained import asset_files, card_of, read_card, sha256


def main() -> None:
    """Renew the line ``sha256`` of every card and say which ones changed."""
    for path in asset_files():
        card, found = card_of(path), sha256(path)
        if read_card(card).sha256 == found:
            continue
        text = card.read_text(encoding="utf-8")
        card.write_text(re.sub(r'(?m)^sha256 = ".*"$', f'sha256 = "{found}"', text, count=1))
        print(f"{card.name}: {found}")


if __name__ == "__main__":
    main()
