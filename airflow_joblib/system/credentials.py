"""URLs without the credentials that they may have, for logs and errors."""

from __future__ import annotations

import re

__all__ = ["without_credentials"]

#: A port, which is no password.
_PORT = r"""\d+(?:[/?#\s,;'")\]]|$)"""
#: ``user:password@`` of a URL. The password may have characters that should have been quoted.
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^/\s]*@")
_UNQUOTED_PASSWORD = re.compile(rf"""(?<=://)([^:/@\s]*):(?!{_PORT}|\*\*\*@)(?:[^@\s]*|[^@'"\n]*)@""")
#: The same where the text is one URL and nothing else, so that the last ``@`` ends it.
_PASSWORD_OF_ALL = re.compile(rf"(?s)(?<=://)([^:/@]*):(?!{_PORT}|\*\*\*@).*@")
#: Who is named alone: a token in place of a user, by the file system or by its look.
_TOKEN = re.compile(
    r"(?i)((?:hf|https?|git|github)://)[^:/@\s]+@"
    r"|(://)(?:(?:hf_|gh[opsu]_|github_pat_|glpat-|sk-|xox\w-|ey[JK])[\w.-]+|(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]{24,})@"
)
#: What a query, or the parameters of a file system, call a credential.
_NAMES = r"(?i)([?&;][\w.-]*(?:token|key|secret|sig|signature|sas|passw|pwd|auth|cred)[\w.-]*=)"
_PARAMETER = re.compile(rf"{_NAMES}[^&;#\s]+")
_PARAMETER_OF_ALL = re.compile(rf"{_NAMES}[^&;#]+")


def without_credentials(text: str, *, whole: bool = False) -> str:
    """Return *text* with the passwords in its URLs masked; a name of a user, or of a connection, stays.

    Args:
        text: A URL, or a sentence with some in it.
        whole: Whether it is one URL alone, whose parts may then have white space in them.
    """
    text = _PASSWORD.sub(r"\1:***@", text)
    text = (_PASSWORD_OF_ALL if whole else _UNQUOTED_PASSWORD).sub(r"\1:***@", text)
    text = _TOKEN.sub(lambda match: f"{match[1] or match[2]}***@", text)
    return (_PARAMETER_OF_ALL if whole else _PARAMETER).sub(r"\1***", text)
