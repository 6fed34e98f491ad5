import type { Answered } from "./fault-proxy.ts";

export type Upload = {
  id: string;
  path: string;
  /** Whether any call named it since. */
  isUsed: boolean;
};

/**
 * Knows by the S3 proxy which multipart uploads were begun and neither completed nor aborted: the
 * stand-in lists none while one is open.
 */
export class UploadWatch {
  readonly #open = new Map<string, Upload>();
  #begun = 0;

  get begun(): number {
    return this.#begun;
  }

  /** To be told of every answer of the S3 proxy. */
  onAnswer({ call, status, answer }: Answered): void {
    const url = new URL(call.path, "http://s3");
    const text = answer.toString();
    const isDone = status < 300 && !text.includes("<Error>");
    if (call.name === "CreateMultipartUpload") {
      const id = /<UploadId>([^<]+)<\/UploadId>/.exec(text)?.[1];
      if (!isDone || id === undefined) return;
      this.#begun++;
      this.#open.set(id, { id, path: url.pathname, isUsed: false });
      return;
    }
    const id = url.searchParams.get("uploadId");
    const upload = id === null ? undefined : this.#open.get(id);
    if (id === null || !upload) return;
    upload.isUsed = true;
    const isEnd = call.name === "CompleteMultipartUpload" || call.name === "AbortMultipartUpload";
    if (isEnd && isDone) this.#open.delete(id);
  }

  /** Uploads that are open now, by asking S3 to end each of them: that tells whether it was there. */
  async end(s3Url: string): Promise<Upload[]> {
    const left: Upload[] = [];
    for (const upload of this.#open.values()) {
      const url = new URL(upload.path, s3Url);
      url.searchParams.set("uploadId", upload.id);
      const { status } = await fetch(url, { method: "DELETE" });
      if (status !== 404) left.push(upload);
    }
    return left;
  }
}
