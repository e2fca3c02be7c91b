"""What may be attached: a few types, known by their content and not by their name, of bounded size."""

from services.chassis.errors import InvalidInput

# Bytes of a file: a photo or a scan; more does not belong into a record.
LARGEST_FILE = 5 * 1024 * 1024

PDF_TYPE = "application/pdf"
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

# How a type's files begin, and what they are called behind the last dot.
OPENINGS = (
    (b"%PDF-", PDF_TYPE, ("pdf",)),
    (b"\x89PNG\r\n\x1a\n", "image/png", ("png",)),
    (b"\xff\xd8\xff", "image/jpeg", ("jpg", "jpeg")),
)
# Office files are ZIP archives that name their content in the first entries.
ZIP_OPENING = b"PK\x03\x04"
OFFICE = (
    (b"xl/", XLSX_TYPE, ("xlsx",)),
    (b"word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", ("docx",)),
)


def check_size(content: bytes) -> None:
    """Raise InvalidInput FILE_EMPTY or FILE_TOO_LARGE naming content."""
    if not content:
        raise InvalidInput("content", "FILE_EMPTY", "文件为空", "The file is empty")
    if len(content) > LARGEST_FILE:
        raise InvalidInput(
            "content",
            "FILE_TOO_LARGE",
            "文件不能超过{most}MB",
            "A file has at most {most} MiB",
            most=LARGEST_FILE // 1024**2,
        )


def content_type(name: str, content: bytes) -> str:
    """Return the MIME type of a file that may be attached.

    Raises InvalidInput naming content: FILE_EMPTY, FILE_TOO_LARGE, FILE_TYPE_REFUSED when its content is of no such
    type or not of the one that its name says.
    """
    check_size(content)
    ending = name.rpartition(".")[2].lower()
    for opening, found, endings in OPENINGS:
        if content.startswith(opening) and ending in endings:
            return found
    for folder, found, endings in OFFICE:
        if content.startswith(ZIP_OPENING) and folder in content and ending in endings:
            return found
    raise InvalidInput(
        "content",
        "FILE_TYPE_REFUSED",
        "只能上传PDF、PNG、JPG、XLSX、DOCX文件，且内容须与扩展名一致",
        "Only PDF, PNG, JPEG, XLSX and DOCX can be attached, and the content must fit the name",
    )
