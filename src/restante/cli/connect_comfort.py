"""The terminal of ``restante connect`` with completion, history, and passwords that are not shown."""

from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.patch_stdout import patch_stdout

from restante.cli.connect_keys import SECRET, WORDS, history_file


class _Commands(Completer):
    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        typed = document.text_before_cursor
        if typed and " " not in typed:
            yield from (Completion(word, -len(typed)) for word in WORDS if word.startswith(typed.upper()))


class _HidePassword(Processor):
    """Shows stars for what stands behind PASS, and the rest as it is."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        text = transformation_input.document.lines[transformation_input.lineno]
        if text[:5].upper() == "PASS ":
            return Transformation([("", text[:5] + "*" * (len(text) - 5))])
        return Transformation(transformation_input.fragments)


class _Memory(FileHistory):
    def store_string(self, string: str) -> None:
        if string.partition(" ")[0].upper() not in SECRET:
            super().store_string(string)


class ComfortableKeyboard:
    """See `restante.cli.connect_keys.Keyboard`."""

    asks = True

    def __init__(self) -> None:
        path = history_file()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(0o600)
            history: History = _Memory(str(path))
        except OSError:
            history = InMemoryHistory()
        self._lines: PromptSession[str] = PromptSession(
            completer=_Commands(), complete_while_typing=False, history=history, input_processors=[_HidePassword()]
        )
        self._secrets: PromptSession[str] = PromptSession(is_password=True)

    async def line(self, suggestion: str, *, secret: bool) -> str | None:
        """See `Keyboard.line`."""
        try:
            with patch_stdout(raw=True):
                if secret:
                    return await self._secrets.prompt_async("response> ")
                return await self._lines.prompt_async("> ", default=suggestion)
        except (EOFError, KeyboardInterrupt):
            return None

    async def password(self) -> str:
        """See `Keyboard.password`."""
        try:
            return await self._secrets.prompt_async("Password: ")
        except (EOFError, KeyboardInterrupt):
            return ""
