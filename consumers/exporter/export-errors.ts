import { errors } from "@opensearch-project/opensearch";
import { S3Error } from "../../aws/s3-answers.ts";
import { DatabaseUnavailable } from "../../db/client.ts";

/** What an export can never get over by itself. Its message is a sentence for the user. */
export class ExportRefused extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "ExportRefused";
    this.code = code;
  }
}

/** S3 and the checkpoint do not agree any more: the export begins again. */
export class UploadGone extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = "UploadGone";
  }
}

export type ExportFailure = {
  code: string;
  /** A sentence for the user. */
  message: string;
  /** Whether a later try may end otherwise. */
  isPassing: boolean;
};

/** What an error means for an export. */
export function failureOf(error: unknown, bucket: string): ExportFailure {
  if (error instanceof ExportRefused)
    return { code: error.code, message: error.message, isPassing: false };
  if (error instanceof UploadGone) {
    const message = `The bucket ${bucket} lost the upload again and again. Look for a lifecycle rule that ends uploads too early.`;
    return { code: "storage_refused", message, isPassing: false };
  }
  if (error instanceof S3Error) {
    const said = error.status === undefined ? error.code : `${error.code}, status ${error.status}`;
    return error.isPassing
      ? {
          code: "storage_unavailable",
          message: `The bucket ${bucket} did not take the file: ${said}. Retry the export later.`,
          isPassing: true,
        }
      : {
          code: "storage_refused",
          message: `The bucket ${bucket} refused the file: ${said}. Once that is mended, retry the export.`,
          isPassing: false,
        };
  }
  if (error instanceof DatabaseUnavailable) {
    const message = "The database did not answer in time. Retry the export later.";
    return { code: "database_unavailable", message, isPassing: true };
  }
  if (error instanceof errors.OpenSearchClientError) {
    const message = "The search did not answer in time. Retry the export later.";
    return { code: "search_unavailable", message, isPassing: true };
  }
  const message = "Something went wrong here. Give the export's id to the service's operator.";
  return { code: "internal", message, isPassing: true };
}
