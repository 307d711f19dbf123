-- Posts chart opens to wrk's target, each for a patient that was not seen before, and counts the answers with a card.
-- Arguments: the template's file, the first number, a file with a token a line where the server asks who calls.
local mark = "@@@@@@@@@@@@"
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local text = file:read("*a")
  file:close()
  pieces = {}
  local from = 1
  while true do
    local at = text:find(mark, from, true)
    if not at then break end
    pieces[#pieces + 1] = text:sub(from, at - 1)
    from = at + #mark
  end
  pieces[#pieces + 1] = text:sub(from)
  number = tonumber(args[2])
  answers, cards = 0, 0
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  if args[3] then next_token = io.lines(args[3]) end
end

function request()
  number = number + 1
  if next_token then wrk.headers["Authorization"] = "Bearer " .. (next_token() or "used up") end
  return wrk.format(nil, nil, nil, table.concat(pieces, string.format("%012d", number)))
end

function response(status, headers, body)
  answers = answers + 1
  if status == 200 and body:find('"summary"', 1, true) then cards = cards + 1 end
end

function done(summary, latency, requests)
  local answers, cards = 0, 0
  for _, thread in ipairs(threads) do
    answers = answers + thread:get("answers")
    cards = cards + thread:get("cards")
  end
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f, "answers": %d, "cards": %d, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, answers, cards, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
