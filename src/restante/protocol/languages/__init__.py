"""Languages of the texts in replies (RFC 6856 section 3)."""

from collections.abc import Mapping
from typing import NamedTuple

from restante.errors import Text
from restante.protocol.languages.french import CATALOGUE as FRENCH
from restante.protocol.languages.german import CATALOGUE as GERMAN


class Language(NamedTuple):
    """A language and its catalogue."""

    tag: str
    """RFC 5646."""
    name: str
    """In the language itself."""
    catalogue: Mapping[str, str]
    """English templates and what they are called here; what is missing is said in English."""

    def say(self, text: Text) -> str:
        """Put a text into words: one line, printable, never beginning with ``[`` (P-160, P-262)."""
        return self.put(text.template, text.values)

    def put(self, template: str, values: Mapping[str, int | str | Text]) -> str:
        """The same for what a `Text` is made of."""
        template = self.catalogue.get(template, template)
        if not values:
            return template
        for value in values.values():
            if isinstance(value, Text):
                said = {key: self.say(one) if isinstance(one, Text) else one for key, one in values.items()}
                return template.format_map(said)
        return template.format_map(values)


DEFAULT = "en"
"""What a session speaks until LANG: only English is all ASCII (P-015)."""

LANGUAGES = {
    language.tag: language
    for language in (
        Language("en", "English", {}),
        Language("de", "Deutsch", GERMAN),
        Language("fr", "Français", FRENCH),
    )
}
"""All languages by their tags."""


def matching(wanted: str) -> Language | None:
    """Find the language for a basic language range (RFC 4647 section 2.1), None if there is none.

    Our tags have one part, so the range matches by its first part, whatever narrows it down: ``de-AT`` gets ``de``.
    """
    primary, hyphen, rest = wanted.lower().partition("-")
    if hyphen and not all(part.isalnum() for part in rest.split("-")):
        return None
    return LANGUAGES.get(primary)
