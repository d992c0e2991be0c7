import type { Schemas } from "@/api/client";

const MOMENT = "2026-11-22T12:00:00Z";
let counter = 0;

/** Return an id in the form of the server's. */
export function id(): string {
  counter += 1;
  return `00000000-0000-7000-8000-${String(counter).padStart(12, "0")}`;
}

export function makeUser(fields: Partial<Schemas["UserRead"]> = {}): Schemas["UserRead"] {
  return {
    id: "me",
    username: "ana",
    name: "Ana",
    email: null,
    image: null,
    role: "user",
    status: "active",
    preferences: {
      theme: "system",
      language: null,
      default_model: null,
      enable_notifications: false,
      time_zone: null,
    } as Schemas["UserRead"]["preferences"],
    created_at: MOMENT,
    updated_at: MOMENT,
    ...fields,
  } as Schemas["UserRead"];
}

export function makeChat(fields: Partial<Schemas["ChatRead"]> = {}): Schemas["ChatRead"] {
  return {
    id: "c1",
    kind: "direct",
    project_id: null,
    is_open_to_project: false,
    title: "About bread",
    provider: null,
    model_name: null,
    system_prompt: null,
    context_window_size: null,
    settings: {} as Schemas["SettingsRead"],
    visibility: "private",
    is_archived: false,
    pinned_at: null,
    deleted_at: null,
    head_message_id: null,
    last_message: null,
    last_message_at: MOMENT,
    message_count: 0,
    total_tokens: 0,
    total_cost: "0",
    tag_ids: [],
    owner: null,
    permissions: { can_read: true, can_write: true, can_share: true },
    created_at: MOMENT,
    updated_at: MOMENT,
    ...fields,
  };
}

export function makeMessage(fields: Partial<Schemas["MessageRead"]> = {}): Schemas["MessageRead"] {
  const own = fields.id ?? id();
  const content = fields.content ?? "Why does bread rise?";
  return {
    id: own,
    chat_id: "c1",
    role: "user",
    content,
    parts: content ? [{ type: "text", text: content }] : [],
    status: "sent",
    user: null,
    agent_id: null,
    previous_message_id: null,
    parent_message_id: null,
    thread_level: 0,
    sibling_ids: [own],
    reactions: [],
    reply_count: 0,
    run_id: null,
    provider: null,
    model_name: null,
    usage: null,
    cost: null,
    error: null,
    finish_reason: null,
    left_out: 0,
    omissions: [],
    token_count: null,
    context_rule: "auto",
    edited: false,
    imported: false,
    created_at: MOMENT,
    updated_at: MOMENT,
    ...fields,
  };
}

export function makeReply(fields: Partial<Schemas["MessageRead"]> = {}): Schemas["MessageRead"] {
  return makeMessage({ role: "assistant", content: "Yeast makes gas.", run_id: "r1", ...fields });
}

export function makeCall(fields: Partial<Schemas["ToolExecutionRead"]> = {}): Schemas["ToolExecutionRead"] {
  return {
    id: "t1",
    chat_id: "c1",
    message_id: "m1",
    run_id: "r1",
    tool_key: "builtin/calculate",
    tool_name: "calculate",
    server: null,
    environment: null,
    risk: "read_only",
    status: "pending",
    arguments_json: '{"expression":"2+2"}',
    parameters: { expression: "2+2" },
    edited_parameters: null,
    estimated_cost: "0",
    cost: null,
    reason: "new",
    decision: null,
    decided_by: null,
    decided_at: null,
    deny_note: null,
    requested_by: "me",
    sources: [],
    question: null,
    result: null,
    error_code: null,
    error_message: null,
    approval_requested_at: MOMENT,
    approved_at: null,
    executed_at: null,
    completed_at: null,
    expires_at: null,
    execution_time_ms: null,
    created_at: MOMENT,
    updated_at: MOMENT,
    ...fields,
  } as Schemas["ToolExecutionRead"];
}

export function makeDraft(
  content = "One two three",
  fields: Partial<Schemas["DraftRead"]> = {},
): Schemas["DraftRead"] {
  return {
    id: "d1",
    title: "Letter",
    description: null,
    revision: 1,
    current_version_number: 1,
    current_version: makeVersion({ content }),
    working_copy: null,
    permissions: { can_read: true, can_write: true, can_share: true },
    owner: null,
    deleted_at: null,
    created_at: MOMENT,
    updated_at: MOMENT,
    ...fields,
  } as Schemas["DraftRead"];
}

export function makeVersion(fields: Partial<Schemas["VersionRead"]> = {}): Schemas["VersionRead"] {
  return {
    id: "v1",
    draft_id: "d1",
    version_number: 1,
    parent_version_number: null,
    content: "One two three",
    name: null,
    generation_source: "user",
    created_at: MOMENT,
    ...fields,
  } as Schemas["VersionRead"];
}

export function makeModel(fields: Partial<Schemas["ModelRead"]> = {}): Schemas["ModelRead"] {
  return {
    provider: "openai",
    provider_name: "OpenAI",
    is_in_plan: true,
    model_name: "model-a",
    display_name: "Model A",
    context_window: null,
    own_window: null,
    max_output: null,
    input_price: null,
    output_price: null,
    capabilities: {
      vision: null,
      tools: null,
      reasoning: null,
      efforts: [],
      verbosity: false,
      web_search: "no",
      inputs: [],
      pictures: "no",
    },
    ignores: [],
    source: "operator",
    available: true,
    deprecated: false,
    is_default: false,
    is_favourite: false,
    state: null,
    ...fields,
  };
}

export function makeChannel(fields: Partial<Schemas["ChannelRead"]> = {}): Schemas["ChannelRead"] {
  return {
    id: "n1",
    project_id: "p1",
    chat_id: "c9",
    name: "general",
    type: "text",
    topic: null,
    unread_count: 0,
    mention_count: 0,
    last_read_id: "01a",
    is_muted: false,
    deleted_at: null,
    ...fields,
  };
}

export function makeProject(fields: Partial<Schemas["ProjectRead"]> = {}): Schemas["ProjectRead"] {
  return {
    id: "p1",
    name: "Garden",
    description: null,
    instructions: null,
    default_model: null,
    status: "active",
    role: "owner",
    owner: { id: "u1", name: "Ada" },
    member_count: 1,
    channels: [makeChannel()],
    deleted_at: null,
    created_at: MOMENT,
    updated_at: MOMENT,
    ...fields,
  };
}
