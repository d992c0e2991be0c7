"""Errors of files."""

from tertulia.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable, UnsupportedType
from tertulia.files.models import MAX_FILE_BYTES


class AttachmentNotFound(NotFound):
    code = "attachment_not_found"


class AttachmentGone(Invalid):
    """A file for a message is missing, deleted, or not the caller's."""

    code = "attachment_unknown"

    def __init__(self) -> None:
        super().__init__("One of the files was deleted or is not yours. Attach it again.", field="attachment_ids")


class AttachmentNotReady(Conflict):
    code = "attachment_not_ready"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is still being read. Send the message in a moment.", retry_after_s=1)


class TooManyAttachments(Invalid):
    code = "too_many_attachments"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"A message can have at most {limit} files. Send the rest in another message.",
            field="attachment_ids",
            limit=limit,
        )


class FileTooLarge(TooLarge):
    code = "file_too_large"

    def __init__(self, limit: int = MAX_FILE_BYTES) -> None:
        super().__init__(f"The file is larger than {limit // 2**20:,} MiB ({limit:,} bytes).", limit=limit)


class FileEmpty(Invalid):
    code = "file_empty"

    def __init__(self) -> None:
        super().__init__("The file is empty.", field="file")


class FileMissing(Invalid):
    code = "file_missing"

    def __init__(self, detail: str = "Send one file as the field `file` of a multipart form.") -> None:
        super().__init__(detail, field="file")


class FileNameTooLong(Invalid):
    code = "file_name_too_long"

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(
            f"The file name has {length} characters. The limit is {limit}. Rename the file.", field="file", limit=limit
        )


class FileNameInvalid(Invalid):
    code = "file_name_invalid"

    def __init__(self) -> None:
        super().__init__("The file needs a name.", field="file")


class FileTypeNotAllowed(UnsupportedType):
    code = "file_type_not_allowed"

    def __init__(self, name: str, media_type: str | None) -> None:
        what = f"a file of type {media_type}" if media_type else "a file of unknown type"
        super().__init__(
            f"{name} is {what}. You can attach images, text, PDF, office documents, audio, video and zip files."
        )


def size_in_words(size_bytes: int) -> str:
    if size_bytes < 2**20:
        return f"{size_bytes:,} bytes"
    return f"{size_bytes / 2**20:.3g} MiB" if size_bytes < 2**30 else f"{size_bytes / 2**30:.3g} GiB"


class StorageFull(Invalid):
    code = "storage_full"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"Your files exceed your storage limit of {size_in_words(limit_bytes)}. Delete some in Files, or ask "
            "an administrator for more.",
            field="file",
            limit=limit_bytes,
        )


class FileStoreUnavailable(Unavailable):
    code = "file_store_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The file storage does not respond, so nothing was saved. Try again in a few seconds.", retry_after_s=5
        )
