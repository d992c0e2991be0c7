import { useQueryErrorResetBoundary } from "@tanstack/react-query";
import { Link, useLocation } from "@tanstack/react-router";
import { Component, type ReactNode } from "react";
import { ApiError } from "@/api/client";
import { wordsFor } from "@/api/words";
import { Empty, Failed } from "@/ui/states";

type Props = { children: ReactNode; reset: () => void; place: string };

class Catch extends Component<Props, { error: Error | undefined }> {
  state: { error: Error | undefined } = { error: undefined };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  componentDidUpdate(before: Props) {
    if (before.place !== this.props.place && this.state.error) this.setState({ error: undefined });
  }

  render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    // An invalid address is not found either.
    if (error instanceof ApiError && (error.status === 404 || error.status === 422))
      return (
        <Empty title="There is nothing here">
          It is missing, in the trash, or not yours.{" "}
          <Link to="/" className="text-accent underline">
            Begin a new chat
          </Link>
        </Empty>
      );
    return (
      <Failed
        words={wordsFor(error)}
        onRetry={() => {
          this.props.reset();
          this.setState({ error: undefined });
        }}
      />
    );
  }
}

/** Show an error of a page in its place. Navigation clears it. */
export function Boundary({ children }: { children: ReactNode }) {
  const { reset } = useQueryErrorResetBoundary();
  return (
    <Catch reset={reset} place={useLocation().pathname}>
      {children}
    </Catch>
  );
}
