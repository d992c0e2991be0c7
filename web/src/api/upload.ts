import { ApiError, OfflineError, type Schemas } from "./client";

export const MAX_FILE_BYTES = 100 * 1024 * 1024;

/** Upload one file with progress; `signal` aborts it. A file that is too large is refused before the upload begins. */
export function sendFile<T = Schemas["AttachmentRead"]>(
  path: string,
  file: File,
  options: { onProgress: (share: number) => void; signal: AbortSignal; mostBytes?: number },
): Promise<T> {
  const most = options.mostBytes ?? MAX_FILE_BYTES;
  if (file.size > most)
    return Promise.reject(
      new ApiError(413, "file_too_large", `${file.name} is larger than ${Math.round(most / 2 ** 20)} MiB.`),
    );
  if (file.size === 0) return Promise.reject(new ApiError(422, "file_empty", `${file.name} is empty.`));
  return new Promise((resolve, reject) => {
    // fetch does not report upload progress.
    const request = new XMLHttpRequest();
    request.open("POST", `/api/v1${path}`);
    request.setRequestHeader("X-Tertulia", "1");
    request.upload.onprogress = (event) =>
      event.lengthComputable && options.onProgress(event.loaded / event.total);
    request.onerror = () => reject(new OfflineError());
    request.onabort = () => reject(new DOMException("The upload was cancelled.", "AbortError"));
    request.onload = () => {
      try {
        const answer = JSON.parse(request.responseText);
        if (request.status < 300) resolve(answer as T);
        else reject(new ApiError(request.status, answer.code, answer.detail, answer.errors ?? []));
      } catch {
        reject(
          new ApiError(request.status, "unreadable", `The server answered with status ${request.status}.`),
        );
      }
    };
    options.signal.addEventListener("abort", () => request.abort());
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  });
}
