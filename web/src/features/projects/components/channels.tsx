import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { BellOff, Hash, MoreHorizontal } from "lucide-react";
import { useState } from "react";
import { wordsFor, wordsForField } from "@/api/words";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Menu } from "@/ui/menu";
import { Problem } from "@/ui/problem";
import { Row, Rows, Section } from "@/ui/section";
import { useToast } from "@/ui/toast";
import {
  type Channel,
  channelsQuery,
  createChannel,
  deleteChannel,
  muteChannel,
  type Project,
  placeChannel,
  restoreChannel,
  updateChannel,
} from "../queries";
import { Unread } from "./unread";

/** The channels of a project, with what is new in each. */
export function Channels({ project }: { project: Project }) {
  const { data: all } = useQuery(channelsQuery);
  const [isCreating, setCreating] = useState(false);
  // Those of an archived project are not in the list of all.
  const own = all?.filter((channel) => channel.project_id === project.id) ?? [];
  const channels = own.length > 0 ? own : (project.channels ?? []);
  const mayWrite = project.role !== "viewer" && project.status === "active";
  return (
    <Section
      title="Channels"
      hint="Members talk here. No model replies."
      action={mayWrite && <Button onClick={() => setCreating(true)}>New channel</Button>}
    >
      <Rows>
        {channels.map((channel) => (
          <Row
            key={channel.id}
            actions={project.status === "active" && <Choices channel={channel} project={project} />}
          >
            <p className="flex min-w-0 items-center gap-2">
              <Hash size={16} strokeWidth={1.5} className="shrink-0 text-text-muted" aria-hidden />
              <Link
                to="/c/$chatId"
                params={{ chatId: channel.chat_id }}
                className="min-w-0 truncate hover:underline"
              >
                {channel.name}
              </Link>
              {channel.is_muted && (
                <BellOff
                  size={14}
                  strokeWidth={1.5}
                  className="text-text-muted"
                  role="img"
                  aria-label="Muted"
                />
              )}
              <Unread channels={[channel]} />
            </p>
            {channel.topic && <p className="truncate text-sm text-text-muted">{channel.topic}</p>}
          </Row>
        ))}
      </Rows>
      {isCreating && <ChannelForm project={project} onClose={() => setCreating(false)} />}
    </Section>
  );
}

function Choices({ channel, project }: { channel: Channel; project: Project }) {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const [isChanging, setChanging] = useState(false);
  const refresh = () => client.invalidateQueries({ queryKey: channelsQuery.queryKey });
  const restoring = useMutation({
    mutationFn: () => restoreChannel(channel.id),
    onError: (error) => say(wordsFor(error)),
    onSettled: refresh,
  });
  const deleting = useMutation({
    mutationFn: () => deleteChannel(channel.id),
    onSuccess: () => offerUndo(`#${channel.name} is deleted.`, () => restoring.mutate()),
    onError: (error) => say(wordsFor(error)),
    onSettled: refresh,
  });
  const muting = useMutation({
    mutationFn: () => muteChannel(channel.id, !channel.is_muted),
    onSuccess: (changed) => placeChannel(client, changed),
    onError: (error) => say(wordsFor(error)),
  });
  const entries = [
    { label: channel.is_muted ? "Unmute" : "Mute", onChoose: () => muting.mutate() },
    ...(project.role === "viewer"
      ? []
      : [{ label: "Change name and topic", onChoose: () => setChanging(true) }]),
    ...(project.role === "owner"
      ? [{ label: "Delete", isDangerous: true, onChoose: () => deleting.mutate() }]
      : []),
  ];
  return (
    <>
      <Menu
        trigger={
          <IconButton label={`More about ${channel.name}`}>
            <MoreHorizontal size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
        }
        entries={entries}
      />
      {isChanging && <ChannelForm project={project} channel={channel} onClose={() => setChanging(false)} />}
    </>
  );
}

/** Ask for the name and the topic of a new channel, or change them. */
function ChannelForm({
  project,
  channel,
  onClose,
}: {
  project: Project;
  channel?: Channel;
  onClose: () => void;
}) {
  const client = useQueryClient();
  const [name, setName] = useState(channel?.name ?? "");
  const [topic, setTopic] = useState(channel?.topic ?? "");
  const [key] = useState(() => crypto.randomUUID());
  const saving = useMutation({
    mutationFn: () => {
      const body = { name, topic: topic.trim() || null };
      return channel ? updateChannel(channel.id, body) : createChannel(project.id, body, key);
    },
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: channelsQuery.queryKey });
      onClose();
    },
  });
  const problem = (field: string) => wordsForField(saving.error, field);
  return (
    <Dialog title={channel ? "Change the channel" : "New channel"} isOpen onClose={onClose}>
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          saving.mutate();
        }}
      >
        <Field
          label="Name"
          hint="Lowercase letters, with - instead of spaces."
          autoFocus
          maxLength={100}
          value={name}
          error={problem("name")}
          onChange={(event) => setName(event.target.value)}
        />
        <Field
          label="Topic"
          hint="What it is for, in one line."
          maxLength={300}
          value={topic}
          error={problem("topic")}
          onChange={(event) => setTopic(event.target.value)}
        />
        <Problem words={saving.error && !problem("name") && !problem("topic") && wordsFor(saving.error)} />
        <Button
          look="primary"
          type="submit"
          className="self-start"
          disabled={!name.trim() || saving.isPending}
        >
          {channel ? "Save" : "Create"}
        </Button>
      </form>
    </Dialog>
  );
}
