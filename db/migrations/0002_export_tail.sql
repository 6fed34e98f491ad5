-- How far an export has looked beyond its last part, so that the next slice goes on there; and what it has of
-- the part that it is making, which lies beside the file until then.
alter table export_pipelines add column scanned_to uuid;
--> statement-breakpoint
alter table export_pipelines add column tail json;
--> statement-breakpoint
-- A part that S3 lost is made again.
grant update (etag, sha256, bytes) on export_parts to audit_exporter;
