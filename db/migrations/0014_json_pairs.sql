-- The leaves of a JSON value whose path can be filtered by: maxMetadataPath of events/log-filter.ts. A long one
-- stands before each of its leaves, so that of one log of 256 KiB this made 8 GB, and no filter by metadata
-- was ever done with it.
create or replace function json_pairs(value json, path text default '') returns setof text
language plpgsql immutable parallel safe as $$
declare
  key text;
  member json;
  below text;
begin
  case json_typeof(value)
    when 'object' then
      for key, member in select * from json_each(value) loop
        below := case when path = '' then key else path || '.' || key end;
        continue when length(below) > 500;
        return query select * from json_pairs(member, below);
      end loop;
    when 'array' then
      for member in select * from json_array_elements(value) loop
        return query select * from json_pairs(member, path);
      end loop;
    else
      return next path || '=' || coalesce(value #>> '{}', 'null');
  end case;
end
$$;
