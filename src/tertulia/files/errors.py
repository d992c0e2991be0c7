"""How files fail."""

from tertulia.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable, UnsupportedType
from tertulia.files.models import MAX_FILE_BYTES


class AttachmentNotFound(NotFound):
    code = "attachment_not_found"


class AttachmentGone(Invalid):
    """Named for a message, but missing, deleted, or not the caller's."""

    code = "attachment_unknown"

    def __init__(self) -> None:
        super().__init__(
            "One of the files is not there any more, or is not yours. Attach it again.", field="attachment_ids"
        )


class AttachmentNotReady(Conflict):
    code = "attachment_not_ready"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is still being read. Send the message in a moment.", retry_after_s=1)


class TooManyAttachments(Invalid):
    code = "too_many_attachments"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"A message takes {limit} files. Send the rest with a second one.", field="attachment_ids", limit=limit
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
            f"The name of the file has {length} characters; {limit} are the most.", field="file", limit=limit
        )


class FileNameInvalid(Invalid):
    code = "file_name_invalid"

    def __init__(self) -> None:
        super().__init__("The file needs a name.", field="file")


class FileTypeNotAllowed(UnsupportedType):
    code = "file_type_not_allowed"

    def __init__(self, name: str, found: str | None) -> None:
        what = f"a file of type {found}" if found else "a kind of file that is not known here"
        super().__init__(
            f"{name} is {what}. Pictures, texts, PDF, office documents, sound, video and zip files can be attached."
        )


class StorageFull(Invalid):
    code = "storage_full"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"Your files have {limit_bytes / 2**30:.3g} GiB, which is all there is for you. Delete some in Files.",
            field="file",
            limit=limit_bytes,
        )


class FileStoreUnavailable(Unavailable):
    code = "file_store_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The place where files are kept does not answer. Nothing was stored; try again.", retry_after_s=5
        )
